"""One chunk -> scores: a slot on a worker, an attempt, perhaps a hedge, and a retry elsewhere when it fails."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from tenacity import AsyncRetrying, retry_if_exception

from app.aio import OnLoop, cancel_on_exit, first_answer, in_parallel
from app.cache.score_cache import ScoreCache
from app.errors import AttemptTimeout, ChunkTooBig, DeadlineExceeded, WorkerError
from app.policy import retry
from app.policy.hedge import HEDGE_AT_SHARE, HEDGE_RATIO, HEDGE_RESERVE, hedge_after_s
from app.policy.merge import Part, merge
from app.policy.retry_budget import RetryBudget
from app.queueing.scheduler import Scheduler
from app.queueing.slot import Slot
from app.scoring.call_outcomes import CallOutcomes
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.metrics.catalog.workers import Kind
from app.telemetry.spans import current_span
from app.types import Answer, Chunk, RequestContext
from app.workers.registry import Registry
from app.workers.worker import Worker


@dataclass(kw_only=True, eq=False, repr=False)
class Attempts(OnLoop):
    """Scores chunks on workers: first attempts, hedges and retries.

    Args:
        scheduler: Gives slots on workers.
        registry: Tells whether a retry can go to a worker not yet tried.
        outcomes: Limits how long a call may take, and records how it went.
        cache: Stores what workers answer, whatever becomes of the request.
        metrics: Count attempts.
        settings: Tries per chunk, the retry budget, hedging.
        rng: Jitter of the pauses before retries.
    """

    scheduler: Scheduler
    registry: Registry
    outcomes: CallOutcomes
    cache: ScoreCache
    metrics: Metrics
    settings: Settings
    rng: Random

    def __post_init__(self) -> None:
        settings = self.settings
        # One key's failures, such as documents that no worker takes, leave the others what is theirs.
        self._retries: defaultdict[str, RetryBudget] = defaultdict(
            lambda: RetryBudget(ratio=settings.retry_ratio, reserve=settings.retry_reserve)
        )
        self._hedging = RetryBudget(ratio=HEDGE_RATIO, reserve=HEDGE_RESERVE)

    @property
    def retries_left(self) -> int:
        """Retries left now in the budget of the key that has fewest."""
        now = self._loop.time()
        return int(min((budget.left(now) for budget in self._retries.values()), default=self.settings.retry_reserve))

    async def score(self, chunk: Chunk) -> Answer:
        """The chunk's scores, from whichever worker gives them.

        A chunk whose content workers object to is halved until the documents at fault stand alone: they come back as
        `refused`, all others with their scores.

        Raises:
            WorkerError: the last attempt's, when no further one can help.
            DeadlineExceeded: the deadline passed while a worker worked.
            Overloaded, FingerprintGone, NoWorker, BadGateway: see `Scheduler.slot`.
        """
        parts: list[Part] = []
        pieces: list[Sequence[int]] = [range(len(chunk.pairs))]
        # A piece of one pair isn't halved: after log2 of the pairs, rounded up, no piece is left.
        while pieces:
            answers = await in_parallel([self._score_unless_too_big(chunk.part(piece)) for piece in pieces])
            parts += [(piece, answer) for piece, answer in zip(pieces, answers, strict=True) if answer]
            too_big = [piece for piece, answer in zip(pieces, answers, strict=True) if not answer]
            pieces = [half for piece in too_big for half in (piece[: len(piece) // 2], piece[len(piece) // 2 :])]
        return merge(parts, len(chunk.pairs))

    async def _score_unless_too_big(self, chunk: Chunk) -> Answer | None:
        """The chunk's scores; None when its halves may fare better."""
        with current_span.get().chunk(chunk):
            try:
                return await self._score_whole(chunk)
            except ChunkTooBig:
                return None
            except WorkerError as error:
                if not retry.objects_to_content(error):
                    raise
                if len(chunk.pairs) == 1:
                    return Answer([math.nan], 0, {0: error})
                if not self._pays_for_retry(chunk.context):
                    raise
                return None

    async def _score_whole(self, chunk: Chunk) -> Answer:
        """The chunk's scores from one worker: attempts until one succeeds, or no further one can help."""
        progress = _Progress(chunk)
        try:
            answer = await self._try(progress)
        except WorkerError:
            answer = await self._retry(progress)
        self.cache.store(chunk, answer.scores)
        # Another worker has scored the content: what objected to it is at fault.
        for slot, objection in progress.objections:
            self.outcomes.failed(slot, objection)
        return answer

    async def _try(self, progress: "_Progress") -> Answer:
        """The scores of one attempt, whose failure is kept."""
        try:
            return await self._attempt(progress)
        except WorkerError as error:
            progress.failures.append(error)
            raise

    async def _retry(self, progress: "_Progress") -> Answer:
        """The scores after a first failure. Were the first attempt in here too, each chunk would pay 0.09 ms for it."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, WorkerError) and self._allows_another(progress)),
            wait=lambda _: self._pause_s(progress),
            stop=lambda state: self._loop.time() + state.upcoming_sleep >= progress.chunk.context.deadline,
            # Comes last: what isn't done isn't paid for.
            before_sleep=lambda _: self._pay_for_another(progress),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                if attempt.retry_state.attempt_number == 1:
                    raise progress.failures[-1]
                return await self._try(progress)
        # Not reached: what fails leaves the loop as it is.
        raise progress.failures[-1]

    async def _attempt(self, progress: "_Progress") -> Answer:
        """The scores of one attempt, hedged when hedging is on and the first worker takes unusually long."""
        with await self._slot(progress) as slot:
            kind: Kind = "retry" if progress.tried else "first"
            if not progress.tried:
                self._retries[progress.chunk.context.key].deposit()
                self._hedging.deposit()
            progress.tried.add(slot.worker)
            call, began = self._call(slot, progress, kind), self._loop.time()
            wait_s = hedge_after_s(self.outcomes.usual_s(slot, HEDGE_AT_SHARE)) if self.settings.hedge else None
            if wait_s is None:
                return await call
            async with cancel_on_exit(call) as calls:
                await asyncio.wait(calls, timeout=wait_s)
                if not calls[0].done():
                    calls.append(asyncio.create_task(self._hedge(progress)))
                answer = await first_answer(calls)
                if not calls[0].done():
                    self.outcomes.record_latency(slot, self._loop.time() - began)
                return answer

    async def _slot(self, progress: "_Progress") -> Slot:
        """A slot. The wait for it counts for the request, in vain or not."""
        queued_at, stats = self._loop.time(), progress.chunk.context.stats
        try:
            slot = await self.scheduler.slot(progress.chunk, avoid=progress.tried)
        finally:
            waited_s = self._loop.time() - queued_at
            stats.queue_s = max(stats.queue_s, waited_s)
        self.metrics.queued(waited_s)
        return slot

    async def _hedge(self, progress: "_Progress") -> Answer | None:
        """The scores of a second attempt on another worker; None when none is free, or the budget is used up."""
        spare = self.scheduler.spare_slot(progress.chunk, avoid=progress.tried)
        if spare is None:
            return None
        with spare as slot:
            if not self._hedging.withdraw(self._loop.time()):
                return None
            progress.tried.add(slot.worker)
            return await self._call(slot, progress, "hedge")

    async def _call(self, slot: Slot, progress: "_Progress", kind: Kind) -> Answer:
        """The scores of one call to one worker; its outcome is recorded."""
        chunk, worker, began = progress.chunk, slot.worker, self._loop.time()
        chunk.context.stats.attempts += 1
        span = current_span.get().attempt(kind)
        outcome = "cancelled"
        try:
            async with self.outcomes.stall_timeout(slot, began, longer_than_s=progress.longest_s):
                answer = await worker.link.score(
                    chunk.fingerprint.model, chunk.pairs, chunk.fields, request_id=chunk.context.request_id
                )
            outcome = "ok"
            self.outcomes.succeeded(slot, self._loop.time() - began)
        except TimeoutError:
            took_s = self._loop.time() - began
            progress.longest_s = max(progress.longest_s, took_s)
            stalled = AttemptTimeout(f"{worker.name} didn't answer for {took_s:.1f} s")
            outcome = stalled.outcome
            if self.outcomes.counts_as_hung(slot, took_s):
                self._report(slot, progress, stalled)
            if self._loop.time() >= chunk.context.deadline:
                message = f"Time ran out while {worker.name} worked on {len(chunk.pairs)} documents."
                raise DeadlineExceeded(message) from None
            raise stalled from None
        except WorkerError as error:
            outcome = error.outcome
            self._report(slot, progress, error)
            raise
        finally:
            self.metrics.attempt(
                worker.name, kind, outcome, documents=len(chunk.pairs), seconds=self._loop.time() - began
            )
            span.end(outcome)
        return answer

    def _report(self, slot: Slot, progress: "_Progress", error: WorkerError) -> None:
        """Record a failure against its worker; one about the content is kept until it is known whose fault it was."""
        if not retry.objects_to_content(error):
            self.outcomes.failed(slot, error)
        elif not slot.is_outdated:
            progress.objections.append((slot, error))

    def _allows_another(self, progress: "_Progress") -> bool:
        return retry.allows(
            progress.failures[-1],
            tries=progress.tries,
            objections=len(progress.objections),
            another_worker=self._has_another_worker(progress),
            max_attempts=self.settings.max_attempts,
        )

    def _pay_for_another(self, progress: "_Progress") -> None:
        """Pay for one more attempt unless the last one was free; when that can't be paid, the last failure stands."""
        failure = progress.failures[-1]
        if not retry.is_free(failure) and not self._pays_for_retry(progress.chunk.context):
            raise failure

    def _pays_for_retry(self, context: RequestContext) -> bool:
        """Withdraw one retry from the key's budget. Returns False when none is left there."""
        is_paid = self._retries[context.key].withdraw(self._loop.time())
        if not is_paid:
            self.metrics.retry_denied()
        return is_paid

    def _pause_s(self, progress: "_Progress") -> float:
        return retry.pause_s(tries=progress.tries, another_worker=self._has_another_worker(progress), rng=self.rng)

    def _has_another_worker(self, progress: "_Progress") -> bool:
        usable = self.registry.usable(progress.chunk.fingerprint)
        return any(worker not in progress.tried and not worker.backs_off_long(self._loop.time()) for worker in usable)


@dataclass(slots=True, eq=False)
class _Progress:
    """The attempts of one chunk.

    Args:
        chunk: What is to be scored.
        tried: The workers it was sent to.
        failures: How its attempts ended, hedges aside.
        longest_s: The longest time a call was waited for in vain.
        objections: To its content; a fault of those workers once another one has scored it.
    """

    chunk: Chunk
    tried: set[Worker] = field(default_factory=set)
    failures: list[WorkerError] = field(default_factory=list)
    longest_s: float = 0.0
    objections: list[tuple[Slot, WorkerError]] = field(default_factory=list)

    @property
    def tries(self) -> int:
        """Attempts that count as tries."""
        return sum(map(retry.is_try, self.failures))
