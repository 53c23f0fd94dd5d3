"""Faults of the links to workers and of the HTTP client below them, which only plans over a network can find."""

from typing import Any

import app.net.http1
import app.workers.vllm
import app.workers.vllm_responses
from tests.simulation.faults.planted import Planted, always


def _closed_for_us_only(_: Any) -> Any:
    def close(connection: Any) -> None:
        connection.is_reusable = False
        connection._forget(connection)

    return close


def _last_part_only(_: Any) -> Any:
    def on_body(connection: Any, part: bytes) -> None:
        connection._body = bytearray(part)

    return on_body


FAULTS: dict[str, Planted] = {
    "given-up-call-stays-connected": Planted(
        "the connection of a call that was given up stays open", app.net.http1._Connection, "close", _closed_for_us_only
    ),
    "rows-in-any-order": Planted(
        "scores are taken in the order in which a worker lists them",
        app.workers.vllm_responses,
        "_in_order",
        lambda _: lambda _indices, scores, _worker: scores,
    ),
    "missing-route-is-a-fault": Planted(
        "a worker without /v1/score isn't asked on /v1/rerank",
        app.workers.vllm,
        "is_missing_route",
        always(value=False),
    ),
    "last-part-of-an-answer-counts": Planted(
        "of a body that comes in several reads only the last part is kept",
        app.net.http1._Connection,
        "on_body",
        _last_part_only,
    ),
}
