"""HTTP servers before simulated workers: what a worker does is brought on vLLM's wire.

Each failure has its counterpart there, but for a connection that only one route refuses: a connection that all routes
share is reset instead. A worker that is down refuses them all. A score that isn't there, and a break in the middle,
come in every way that `manners.py` has.
"""

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

from app.errors import (
    BadAnswer,
    Busy,
    ClosedBeforeResponse,
    ClosedMidResponse,
    ContentRejected,
    Misconfigured,
    Unavailable,
    Unreachable,
    WorkerError,
)
from tests.fake_vllm import Call
from tests.simulation import texts
from tests.simulation.clock import VirtualLoop
from tests.simulation.manners import SCORE_LIES, Manner
from tests.simulation.network import Host
from tests.simulation.record import Record
from tests.simulation.worker_server import Misbehaves, WorkerServer, scored
from tests.simulation.workers import MAX_MODEL_LEN, SimulatedWorker

_PORT = 80
_MANNERS: Mapping[type[WorkerError], Sequence[Manner]] = {
    Unreachable: [Manner(breaks="call", resets=True)],
    ClosedBeforeResponse: [Manner(breaks="call"), Manner(breaks="call", resets=True)],
    ClosedMidResponse: [Manner(breaks=where, resets=resets) for where in ("head", "body") for resets in (False, True)],
    BadAnswer: [Manner(lie=SCORE_LIES[name]) for name in sorted(SCORE_LIES)],
    ContentRejected: [Manner(status=status) for status in (400, 413, 422)],
    Misconfigured: [Manner(status=status) for status in (401, 403, 404)],
    Unavailable: [Manner(status=status) for status in (500, 502, 504)],
}


def serve_over_network(workers: Iterable[SimulatedWorker], loop: VirtualLoop, record: Record, rng: Random) -> None:
    """Have each worker listen at its name in the loop's network, each in a network a little different."""
    for number, worker in enumerate(workers):
        address = f"10.1.0.{number + 1}"
        loop.network.name(worker.name, address)
        worker.host = loop.network.host(address)
        worker.host.cuts = rng.choice([0.0, 0.0, 0.3])
        WorkerFront(worker, worker.host, record, rng)


class WorkerFront(WorkerServer):
    """The server of one worker.

    Args:
        worker: Who does the work.
        host: Where it listens.
        record: Where calls are found by the number that they bring for an id.
        rng: In which way it fails, and whether it has `/v1/score`.
    """

    def __init__(self, worker: SimulatedWorker, host: Host, record: Record, rng: Random) -> None:
        super().__init__(
            host,
            port=_PORT,
            scorer=self._score_of,
            max_model_len=MAX_MODEL_LEN,
            has_score_route=rng.random() < 0.75,
        )
        self._worker = worker
        self._record = record
        self._rng = rng

    def serves(self, model: Any) -> bool:
        return model in self._worker.spec.models

    async def answer_to(self, call: Call) -> tuple[int, Any]:
        self.version = self._worker.version
        try:
            if call.path == "/v1/models":
                await self._worker.identify(None)
            elif call.path == "/tokenize":
                await self._worker.count_tokens(call.body["prompt"])
            return await super().answer_to(call)
        except WorkerError as error:
            raise Misbehaves(self._manner_of(error), self._right_answer(call)) from error

    def _models(self, call: Call) -> Any:
        listed = super()._models(call)
        [entry] = listed["data"]
        return listed | {
            "data": [entry | {"id": model, "root": f"/models/{model}"} for model in self._worker.spec.models]
        }

    async def _score_of(self, call: Call) -> Sequence[float]:
        return await self._worker.score(self._record.calls[int(call.headers["x-request-id"].partition("-")[0])])

    def _manner_of(self, error: WorkerError) -> Manner:
        if isinstance(error, Busy):
            asked = error.retry_after_s
            return Manner(status=503, headers=() if asked is None else (b"Retry-After: %d" % asked,))
        return self._rng.choice(_MANNERS[type(error)])

    def _right_answer(self, call: Call) -> Any:
        if call.path not in {"/v1/score", "/v1/rerank"}:
            return {}
        pairs = zip(call.queries, call.documents, strict=True)
        return scored(call, [texts.score(self._worker.weights, query, document) for query, document in pairs])
