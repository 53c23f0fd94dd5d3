"""One chunk -> scores: a slot on a worker, an attempt, and on failure another elsewhere."""

import asyncio
from random import Random

from tenacity import AsyncRetrying, RetryCallState

from app.errors import Dropped, Misconfigured, OutOfTime, Unreachable, WorkerError
from app.fleet.fleet import Fleet
from app.fleet.probe import Probe
from app.fleet.worker import Worker
from app.metrics import Metrics
from app.policy import retry
from app.policy.estimate import likely_tokens
from app.schedule import Schedule
from app.work import Answer, Chunk, Fingerprint, Tally


class Dispatch:
    """Gets chunks scored.

    Args:
        schedule: Where slots come from.
        fleet: Tells whether a retry can go to a worker not yet tried.
        probe: Told about workers whose connections fail.
        max_attempts: Tries per chunk that cost a worker something.
    """

    def __init__(
        self, *, schedule: Schedule, fleet: Fleet, probe: Probe, metrics: Metrics, max_attempts: int, rng: Random
    ) -> None:
        self._schedule = schedule
        self._fleet = fleet
        self._probe = probe
        self._metrics = metrics
        self._max_attempts = max_attempts
        self._rng = rng

    async def score(self, chunk: Chunk, tally: Tally) -> Answer:
        """The chunk's scores, from whichever worker gives them.

        Raises:
            WorkerError: the last attempt's, when no further one can help.
            OutOfTime: the deadline passed while a worker worked.
            Overloaded, FingerprintGone, NoWorker, BadGateway: see `Schedule.slot`.
        """
        chain = _Chain(chunk)
        retrying = AsyncRetrying(
            retry=lambda state: self._is_worth_another(chain, state),
            wait=lambda _: self._pause_s(chain),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                return await self._attempt(chain, tally)
        raise AssertionError  # the loop above ends by returning or raising

    async def count_tokens(self, text: str, fingerprint: Fingerprint, deadline: float) -> int:
        """The tokens `text` has for a model; an estimate when no worker counts them (old releases have no /tokenize).

        Raises:
            OutOfTime: the deadline passed.
        """
        for worker in self._fleet.usable(fingerprint):
            try:
                async with asyncio.timeout_at(deadline):
                    return await worker.link.count_tokens(fingerprint.model, text)
            except TimeoutError:
                raise OutOfTime(f"Time ran out while {worker.name} counted the query's tokens.") from None
            except WorkerError as exc:
                self._report(worker, exc)
        return likely_tokens(text)

    async def _attempt(self, chain: "_Chain", tally: Tally) -> Answer:
        chunk = chain.chunk
        async with self._schedule.slot(chunk, avoid=chain.tried) as worker:
            tally.attempts += 1
            kind = "retry" if chain.tried else "first"
            chain.tried.add(worker)
            outcome = "abandoned"
            try:
                async with asyncio.timeout_at(chunk.deadline):
                    answer = await worker.link.score(chunk)
                outcome = "ok"
            except TimeoutError:
                outcome = "timeout"
                raise OutOfTime(f"Time ran out while {worker.name} worked on {len(chunk.pairs)} documents.") from None
            except WorkerError as exc:
                outcome = exc.outcome
                self._report(worker, exc)
                raise
            finally:
                self._metrics.attempt(worker.name, kind, outcome)
            return answer

    def _report(self, worker: Worker, error: WorkerError) -> None:
        if isinstance(error, Unreachable | Dropped | Misconfigured):
            self._probe.suspect(worker, error)

    def _is_worth_another(self, chain: "_Chain", state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, WorkerError):
            return False
        chain.tries += not retry.is_free(error)
        return retry.allows(error, tries=chain.tries, max_attempts=self._max_attempts)

    def _pause_s(self, chain: "_Chain") -> float:
        another = any(worker not in chain.tried for worker in self._fleet.usable(chain.chunk.fingerprint))
        return retry.pause_s(tries=chain.tries, another_worker=another, rng=self._rng)


class _Chain:
    """The attempts of one chunk: where it has been, and how often that cost something."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.tried: set[Worker] = set()
        self.tries = 0
