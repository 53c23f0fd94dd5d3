"""One chunk -> scores: a slot on a worker, an attempt, perhaps a hedge, and on failure another elsewhere."""

import asyncio
import math
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception

from app.cache.pairs import PairCache
from app.errors import Busy, ChunkTooBig, Misconfigured, OutOfTime, Stalled, Unreachable, Vanished, WorkerError
from app.fleet.fleet import Fleet
from app.fleet.probe import Probe
from app.fleet.worker import Worker
from app.metrics import Metrics
from app.metrics.catalog.workers import Kind
from app.parallel import in_parallel
from app.patience import patience_with
from app.policy import retry
from app.policy.budget import Budget
from app.policy.estimate import likely_tokens
from app.policy.hedge import HEDGE_AT_SHARE, HEDGE_RATIO, HEDGE_RESERVE, hedge_after_s
from app.policy.latency import Latencies, attempt_limit_s, patience_s
from app.schedule import Schedule, Slot
from app.settings import Settings
from app.spans import current_span
from app.work import Answer, Chunk, Fingerprint, Tally

# Times the limit of a silent worker: how long one that answers others meanwhile may take.
_BUSY_PATIENCE = 5


class Dispatch:
    """Gets chunks scored.

    Args:
        schedule: Where slots come from.
        fleet: Tells whether a retry can go to a worker not yet tried.
        probe: Told about workers in doubt.
        cache: Keeps what workers answer, whatever becomes of the request.
        metrics: Count attempts.
        settings: Tries per chunk, the retry budget, hedging.
        rng: Jitter.
    """

    def __init__(
        self,
        *,
        schedule: Schedule,
        fleet: Fleet,
        probe: Probe,
        cache: PairCache,
        metrics: Metrics,
        settings: Settings,
        rng: Random,
    ) -> None:
        self._schedule = schedule
        self._fleet = fleet
        self._probe = probe
        self._cache = cache
        self._metrics = metrics
        self._max_attempts = settings.max_attempts
        self._hedges = settings.hedge
        self._rng = rng
        self._retries = Budget(ratio=settings.retry_ratio, reserve=settings.retry_reserve)
        self._hedging = Budget(ratio=HEDGE_RATIO, reserve=HEDGE_RESERVE)
        self._latencies: defaultdict[Fingerprint, Latencies] = defaultdict(Latencies)

    @property
    def retries_left(self) -> int:
        """Retries that the budget would pay for now."""
        return int(self._retries.left(_now()))

    async def score(self, chunk: Chunk, tally: Tally) -> Answer:
        """The chunk's scores, from whichever worker gives them.

        A chunk whose content workers object to is halved until the documents at fault stand alone: they come back as
        `refused`, all others with their scores.

        Raises:
            WorkerError: the last attempt's, when no further one can help.
            OutOfTime: the deadline passed while a worker worked.
            Overloaded, FingerprintGone, NoWorker, BadGateway: see `Schedule.slot`.
        """
        with current_span.get().chunk(chunk):
            return await self._score(chunk, tally)

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
            except WorkerError:
                continue
        return likely_tokens(text)

    async def _score(self, chunk: Chunk, tally: Tally) -> Answer:
        """The chunk's scores, from one call or from its halves."""
        try:
            return await self._score_whole(chunk, tally)
        except ChunkTooBig:
            return await self._score_halves(chunk, tally)
        except WorkerError as error:
            if not retry.objects_to_content(error):
                raise
            if len(chunk.pairs) == 1:
                return Answer([math.nan], 0, {0: error})
            if not self._pays_for_retry():
                raise
            return await self._score_halves(chunk, tally)

    async def _score_whole(self, chunk: Chunk, tally: Tally) -> Answer:
        """The chunk's scores from one worker: attempts until one succeeds, or no further one can help."""
        chain = _Chain(chunk)
        try:
            answer = await self._attempt(chain, tally)
        except WorkerError as error:
            if not self._is_worth_another(chain, error):
                raise
            answer = await self._retry(chain, tally)
        self._cache.store(chunk, answer.scores)
        self._settle_blame(chain)
        return answer

    async def _retry(self, chain: "_Chain", tally: Tally) -> Answer:
        """The scores after a first failure. Were the first attempt in here too, each chunk would pay 0.09 ms for it."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: self._is_worth_another(chain, error)),
            wait=lambda _: self._pause_s(chain),
            reraise=True,
        )
        await asyncio.sleep(self._pause_s(chain))
        answer: Answer = await retrying(self._attempt, chain, tally)
        return answer

    async def _score_halves(self, chunk: Chunk, tally: Tally) -> Answer:
        middle = len(chunk.pairs) // 2
        parts = [chunk.part(range(middle)), chunk.part(range(middle, len(chunk.pairs)))]
        first, second = await in_parallel([self.score(part, tally) for part in parts])
        refused = dict(first.refused) | {middle + place: error for place, error in second.refused.items()}
        return Answer(first.scores + second.scores, first.tokens + second.tokens, refused)

    async def _attempt(self, chain: "_Chain", tally: Tally) -> Answer:
        """One try, with a hedge when hedging is on and the first worker takes unusually long."""
        queued_at = _now()
        async with self._schedule.slot(chain.chunk, avoid=chain.tried) as slot:
            waited_s = _now() - queued_at
            self._metrics.queued(waited_s)
            tally.queue_s = max(tally.queue_s, waited_s)
            kind: Kind = "retry" if chain.tried else "first"
            if not chain.tried:
                self._retries.deposit()
                self._hedging.deposit()
            chain.tried.add(slot.worker)
            call, began = self._call(slot, chain, kind, tally), _now()
            wait_s = self._hedge_after_s(slot)
            if wait_s is None:
                return await call
            async with _ended_together(call) as calls:
                await asyncio.wait(calls, timeout=wait_s)
                if not calls[0].done():
                    calls.append(asyncio.create_task(self._hedge(chain, tally)))
                answer = await _first_answer(calls)
                if not calls[0].done():
                    self._measure(slot, _now() - began)
                return answer

    async def _hedge(self, chain: "_Chain", tally: Tally) -> Answer | None:
        """A second attempt on another worker; None when none is free, or the budget is used up."""
        with self._schedule.spare_slot(chain.chunk, avoid=chain.tried) as slot:
            if slot is None or not self._hedging.withdraw(_now()):
                return None
            chain.tried.add(slot.worker)
            return await self._call(slot, chain, "hedge", tally)

    async def _call(self, slot: Slot, chain: "_Chain", kind: Kind, tally: Tally) -> Answer:
        """One call on one worker, and what it teaches about that worker."""
        chunk, worker, began = chain.chunk, slot.worker, _now()
        tally.attempts += 1
        span = current_span.get().attempt(kind)
        outcome = "abandoned"
        try:
            async with self._patience(slot, chunk, began):
                answer = await worker.link.score(chunk)
            outcome = "ok"
            self._learn(slot, chunk, _now() - began)
        except TimeoutError:
            took_s = _now() - began
            stalled = Stalled(f"{worker.name} didn't answer for {took_s:.1f} s")
            outcome = stalled.outcome
            if took_s >= patience_s(self._usual_s(slot, 0.99)):
                self._report(slot, chain, stalled)
            if _now() >= chunk.caller.deadline:
                message = f"Time ran out while {worker.name} worked on {len(chunk.pairs)} documents."
                raise OutOfTime(message) from None
            raise stalled from None
        except WorkerError as error:
            outcome = error.outcome
            self._report(slot, chain, error)
            raise
        finally:
            self._metrics.attempt(worker.name, kind, outcome, documents=len(chunk.pairs), seconds=_now() - began)
            span.end(outcome)
        return answer

    def _patience(self, slot: Slot, chunk: Chunk, now: float) -> AbstractAsyncContextManager[object]:
        """How long the call may take: all the time there is, unless another worker could do better."""
        deadline = chunk.caller.deadline
        if self._fleet.usable(chunk.fingerprint) == [slot.worker]:
            return asyncio.timeout_at(deadline)
        quiet_s = attempt_limit_s(left_s=deadline - now, p99_s=self._usual_s(slot, 0.99))
        until = now + min((deadline - now) / 2, _BUSY_PATIENCE * quiet_s)
        return patience_with(slot.worker, quiet_s=quiet_s, until=until)

    def _usual_s(self, slot: Slot, share: float) -> float | None:
        """Seconds within which `share` of the calls end on a worker that holds as much, if that is known.

        By what the worker holds, not by the call's own size: after a burst short queues are left as soon as ever.
        """
        return self._latencies[slot.fingerprint].quantile(share, slot.held_tokens)

    def _hedge_after_s(self, slot: Slot) -> float | None:
        return hedge_after_s(self._usual_s(slot, HEDGE_AT_SHARE)) if self._hedges else None

    def _learn(self, slot: Slot, chunk: Chunk, seconds: float) -> None:
        """What a success says about its worker."""
        self._measure(slot, seconds)
        self._latencies[chunk.fingerprint].record(slot.held_tokens, seconds)
        slot.worker.breaker.report(failed=False, generation=slot.generation)
        slot.worker.limit.observe(documents=len(chunk.pairs), held=slot.held_documents, seconds=seconds)
        slot.worker.succeeded(_now())
        self._schedule.scored(chunk)

    def _measure(self, slot: Slot, seconds: float) -> None:
        """Compare a call with what is usual for all that its worker held."""
        slot.worker.measure(seconds=seconds, usual_s=self._usual_s(slot, 0.5), now=_now())

    def _report(self, slot: Slot, chain: "_Chain", error: WorkerError) -> None:
        """What a failure says about its worker. One that set out before the worker's last change says nothing."""
        worker, documents = slot.worker, len(chain.chunk.pairs)
        if slot.generation != worker.breaker.generation:
            return
        if isinstance(error, Busy):
            worker.rest(error.retry_after_s, _now())
            # vLLM's refusal of a chunk beyond its --max-num-queued-reqs names neither a limit nor a time.
            if error.retry_after_s is None and slot.held_documents == documents > 1:
                worker.lower_ceiling(documents, _now())
        elif retry.objects_to_content(error):
            chain.objections.append((slot, error))
        elif _leaves_no_doubt(error) or worker.breaker.report(failed=True, generation=slot.generation):
            self._probe.suspect(worker, error)

    def _settle_blame(self, chain: "_Chain") -> None:
        """Another worker scored what these objected to: the content wasn't at fault, they were."""
        for slot, error in chain.objections:
            if slot.worker.breaker.report(failed=True, generation=slot.generation):
                self._probe.suspect(slot.worker, error)

    def _is_worth_another(self, chain: "_Chain", error: BaseException) -> bool:
        if not isinstance(error, WorkerError):
            return False
        chain.tries += retry.is_try(error)
        allowed = retry.allows(
            error,
            tries=chain.tries,
            objections=len(chain.objections),
            another_worker=self._has_another_worker(chain),
            max_attempts=self._max_attempts,
        )
        return allowed and (retry.is_free(error) or self._pays_for_retry())

    def _pays_for_retry(self) -> bool:
        """Whether the budget has paid for one more try."""
        is_paid = self._retries.withdraw(_now())
        if not is_paid:
            self._metrics.retry_denied()
        return is_paid

    def _pause_s(self, chain: "_Chain") -> float:
        return retry.pause_s(tries=chain.tries, another_worker=self._has_another_worker(chain), rng=self._rng)

    def _has_another_worker(self, chain: "_Chain") -> bool:
        usable = self._fleet.usable(chain.chunk.fingerprint)
        return any(worker not in chain.tried and not worker.rests_long(_now()) for worker in usable)


class _Chain:
    """The attempts of one chunk: where it has been, how often that cost something, and who objected to its content."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.tried: set[Worker] = set()
        self.tries = 0
        self.objections: list[tuple[Slot, WorkerError]] = []


@asynccontextmanager
async def _ended_together(call: Coroutine[Any, Any, Answer]) -> AsyncIterator[list["asyncio.Task[Answer | None]"]]:
    """A list of calls under way, beginning with `call`; whatever is left at the end is cancelled and waited for."""
    calls: list[asyncio.Task[Answer | None]] = [asyncio.create_task(call)]
    try:
        yield calls
    finally:
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def _first_answer(calls: Sequence["asyncio.Task[Answer | None]"]) -> Answer:
    """The first answer of several calls; the first call's error when there is none."""
    pending = set(calls)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for call in done:
            if call.exception() is None and (answer := call.result()):
                return answer
    raise calls[0].exception() or AssertionError("only hedges end without an answer")


def _leaves_no_doubt(error: WorkerError) -> bool:
    """Whether one such failure is enough to stop calling a worker."""
    return isinstance(error, Unreachable | Misconfigured) and not isinstance(error, Vanished)


def _now() -> float:
    return asyncio.get_running_loop().time()
