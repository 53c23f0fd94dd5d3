"""Faults of what is known of workers."""

import asyncio
from typing import Any

import app.policy.breaker
import app.policy.model_change
import app.workers.prober
import app.workers.registry
import app.workers.worker
from tests.simulation.faults.planted import Planted, always


def _failed_worker_not_probed_again(right: Any) -> Any:
    async def until_due(probe: Any, worker: Any, watch: Any) -> None:
        if worker.is_well:
            await right(probe, worker, watch)
        else:
            await asyncio.Event().wait()

    return until_due


def _recovery_told_to_nobody(_: Any) -> Any:
    def shown(worker: Any, serves: Any, **_: float) -> None:
        is_first = not worker.serves
        worker.serves, worker._problem = serves, None
        worker.breaker.close()
        if is_first:
            worker._tell()

    return shown


def _breaker_stays_half_open(right: Any) -> Any:
    def close(breaker: Any) -> None:
        if breaker.generation <= 1:
            right(breaker)

    return close


def _mixes_fingerprints(_: Any) -> Any:
    return lambda registry, mark: [one for one in registry.workers if one.is_usable and mark.model in one.serves]


FAULTS: dict[str, Planted] = {
    "failed-worker-not-probed-again": Planted(
        "a worker that failed a probe isn't asked again",
        app.workers.prober.Prober,
        "_until_due",
        _failed_worker_not_probed_again,
    ),
    "recovery-told-to-nobody": Planted(
        "that a worker is well again is told to nobody", app.workers.worker.Worker, "shown", _recovery_told_to_nobody
    ),
    "any-weights-match": Planted(
        "any weights count as the same", app.policy.model_change, "same_weights", always(value=True)
    ),
    "breaker-stays-half-open": Planted(
        "a breaker that opened once stays half open", app.policy.breaker.Breaker, "close", _breaker_stays_half_open
    ),
    "pauses-grow-without-end": Planted(
        "a flapping worker's pauses grow without end", app.policy.breaker, "_LONGEST_PAUSE_S", lambda _: 1e9
    ),
    "mixes-fingerprints": Planted(
        "a request's chunks go to workers of any weights", app.workers.registry.Registry, "usable", _mixes_fingerprints
    ),
}
