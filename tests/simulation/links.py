"""The links of a gateway to simulated workers: to a worker itself, or the gateway's own over a network in memory."""

from collections.abc import Mapping
from typing import Any

from app.errors import Unreachable, WorkerError
from app.types import Answer, Pairs, text_of
from app.workers.fingerprinter import PROBE_PREFIX
from app.workers.link import Identity
from app.workers.model_check import CHECK_PREFIX
from app.workers.vllm import VllmLink
from tests.simulation.clock import VirtualLoop
from tests.simulation.record import Call, Note, Record
from tests.simulation.workers import SimulatedWorker


class _Link:
    """What both write down."""

    def __init__(self, worker: SimulatedWorker, gateway: int, *, loop: VirtualLoop, record: Record) -> None:
        self.name = worker.name
        self._gateway = gateway
        self._worker = worker
        self._loop = loop
        self._record = record
        self._is_closed = False

    async def close(self) -> None:
        self._is_closed = True

    def _check_open(self) -> None:
        if self._is_closed:
            self._record.bugs.append(Note(self._loop.elapsed_s, self.name, "was called after its link was closed"))

    def _begin(self, pairs: Pairs, request_id: str) -> Call:
        self._check_open()
        query, documents = text_of(pairs.queries[0]), [*map(text_of, pairs.documents)]
        is_probe = request_id.startswith((PROBE_PREFIX, CHECK_PREFIX))
        call = Call(self.name, self._gateway, request_id, query, documents, is_probe, self._loop.now)
        self._record.calls.append(call)
        return call


class DirectLink(_Link):
    """A link that fills the port by itself, which costs least."""

    async def identify(self) -> Identity:
        self._check_open()
        return await self._worker.identify(self._gateway)

    async def count_tokens(self, model: str, text: str, *, request_id: str) -> int:
        self._check_open()
        return await self._worker.count_tokens(text)

    async def score(self, model: str, pairs: Pairs, fields: Mapping[str, Any], *, request_id: str) -> Answer:
        scores = await self._worker.score(self._begin(pairs, request_id))
        return Answer(scores, len(scores))


class NetworkLink(_Link):
    """The gateway's own link to the server that `worker_front.py` has for the worker."""

    def __init__(self, worker: SimulatedWorker, gateway: int, *, loop: VirtualLoop, record: Record) -> None:
        super().__init__(worker, gateway, loop=loop, record=record)
        self._link = VllmLink(f"http://{worker.name}")

    async def identify(self) -> Identity:
        self._check_open()
        try:
            return await self._link.identify()
        except Unreachable:
            self._worker.note_refused(self._gateway)
            raise

    async def count_tokens(self, model: str, text: str, *, request_id: str) -> int:
        self._check_open()
        return await self._link.count_tokens(model, text, request_id=request_id)

    async def score(self, model: str, pairs: Pairs, fields: Mapping[str, Any], *, request_id: str) -> Answer:
        # The worker finds the call by its place in the record.
        number, call = len(self._record.calls), self._begin(pairs, request_id)
        try:
            return await self._link.score(model, pairs, fields, request_id=str(number))
        except WorkerError as error:
            call.how = call.how or error.outcome
            if isinstance(error, Unreachable):
                self._worker.note_refused(self._gateway)
            raise
        finally:
            # A worker that got it says when it was done with it, though it hears later that nobody waits any more.
            call.how = call.how or "cancelled"
            call.ended = min(call.ended, self._loop.now)

    async def close(self) -> None:
        await super().close()
        await self._link.close()
