"""One chunk -> scores: a slot on a worker, an attempt, perhaps a hedge, and on failure another elsewhere."""

import asyncio
import math
from collections import defaultdict
from random import Random
from weakref import WeakKeyDictionary

from tenacity import AsyncRetrying, retry_if_exception

from app.cache.pairs import PairCache
from app.errors import ChunkTooBig, OutOfTime, Stalled, Vanished, WorkerError
from app.experience import Experience
from app.fleet.fleet import Fleet
from app.fleet.worker import Worker
from app.loop import OnLoop
from app.metrics import Metrics
from app.metrics.catalog.workers import Kind
from app.parallel import ended_together, first_answer, in_parallel
from app.policy import retry
from app.policy.budget import Budget
from app.policy.estimate import likely_tokens
from app.policy.hedge import HEDGE_AT_SHARE, HEDGE_RATIO, HEDGE_RESERVE, hedge_after_s
from app.schedule import Schedule
from app.settings import Settings
from app.slot import Slot
from app.spans import current_span
from app.work import Answer, Caller, Chunk, Fingerprint, Tally

# A tokenizer of Hugging Face takes 13 ms for 10,000 characters and 0.7 s for a million.
_COUNT_LIMIT_S = 0.5
_COUNT_LIMIT_S_PER_CHARACTER = 1e-6
# Of the time left, for each worker that is asked.
_COUNT_SHARE = 0.1
_COUNTERS = 2
# How long a worker isn't asked to count after it failed to.
_COUNT_PAUSE_S = 30.0


class Dispatch(OnLoop):
    """Gets chunks scored.

    Args:
        schedule: Where slots come from.
        fleet: Tells whether a retry can go to a worker not yet tried.
        experience: Says how long a call may take, and learns from how it went.
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
        experience: Experience,
        cache: PairCache,
        metrics: Metrics,
        settings: Settings,
        rng: Random,
    ) -> None:
        self._schedule = schedule
        self._fleet = fleet
        self._experience = experience
        self._cache = cache
        self._metrics = metrics
        self._max_attempts = settings.max_attempts
        self._most_retries = settings.retry_reserve
        self._hedges = settings.hedge
        self._rng = rng
        self._counts_again_at: WeakKeyDictionary[Worker, float] = WeakKeyDictionary()
        # One key's failures, such as documents that no worker takes, leave the others what is theirs.
        self._retries: defaultdict[str, Budget] = defaultdict(
            lambda: Budget(ratio=settings.retry_ratio, reserve=settings.retry_reserve)
        )
        self._hedging = Budget(ratio=HEDGE_RATIO, reserve=HEDGE_RESERVE)

    @property
    def retries_left(self) -> int:
        """Retries that the budget of the key with the least left would pay for now."""
        now = self._loop.time()
        return int(min((budget.left(now) for budget in self._retries.values()), default=self._most_retries))

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
        """The tokens `text` has for a model, as a worker counts them; an estimate when two workers don't do so in time.

        Old releases have no /tokenize. Who failed to count isn't asked to for a while: it may score as well as ever.
        """
        now = self._loop.time()
        enough_s = _COUNT_LIMIT_S + _COUNT_LIMIT_S_PER_CHARACTER * len(text)
        limit_s = min(enough_s, _COUNT_SHARE * (deadline - now))
        able = [w for w in self._fleet.usable(fingerprint) if self._counts_again_at.get(w, now) <= now]
        for worker in able[:_COUNTERS]:
            generation = worker.breaker.generation
            try:
                async with asyncio.timeout(limit_s):
                    return await worker.link.count_tokens(fingerprint.model, text)
            except TimeoutError:
                if limit_s < enough_s:
                    # A client in a hurry says nothing about the worker.
                    continue
            except Vanished:
                # As a connection may do that was idle.
                continue
            except WorkerError as error:
                self._experience.failed_to_count(worker, error, generation)
            self._counts_again_at[worker] = self._loop.time() + _COUNT_PAUSE_S
        return likely_tokens([text])[0]

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
            if not self._pays_for_retry(chunk.caller):
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
            answer = await self._retry(chain, tally, error)
        self._cache.store(chunk, answer.scores)
        self._settle_blame(chain)
        return answer

    async def _retry(self, chain: "_Chain", tally: Tally, first: WorkerError) -> Answer:
        """The scores after a first failure. Were the first attempt in here too, each chunk would pay 0.09 ms for it."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: self._is_worth_another(chain, error)),
            wait=lambda _: self._pause_s(chain),
            stop=lambda state: self._is_too_late(chain, state.upcoming_sleep),
            reraise=True,
        )
        pause_s = self._pause_s(chain)
        if self._is_too_late(chain, pause_s):
            raise first
        await asyncio.sleep(pause_s)
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
        queued_at = self._loop.time()
        with await self._schedule.slot(chain.chunk, avoid=chain.tried) as slot:
            waited_s = self._loop.time() - queued_at
            self._metrics.queued(waited_s)
            tally.queue_s = max(tally.queue_s, waited_s)
            kind: Kind = "retry" if chain.tried else "first"
            if not chain.tried:
                self._retries[chain.chunk.caller.key].deposit()
                self._hedging.deposit()
            chain.tried.add(slot.worker)
            call, began = self._call(slot, chain, kind, tally), self._loop.time()
            wait_s = hedge_after_s(self._experience.usual_s(slot, HEDGE_AT_SHARE)) if self._hedges else None
            if wait_s is None:
                return await call
            async with ended_together(call) as calls:
                await asyncio.wait(calls, timeout=wait_s)
                if not calls[0].done():
                    calls.append(asyncio.create_task(self._hedge(chain, tally)))
                answer = await first_answer(calls)
                if not calls[0].done():
                    self._experience.measure(slot, self._loop.time() - began)
                return answer

    async def _hedge(self, chain: "_Chain", tally: Tally) -> Answer | None:
        """A second attempt on another worker; None when none is free, or the budget is used up."""
        spare = self._schedule.spare_slot(chain.chunk, avoid=chain.tried)
        if spare is None:
            return None
        with spare as slot:
            if not self._hedging.withdraw(self._loop.time()):
                return None
            chain.tried.add(slot.worker)
            return await self._call(slot, chain, "hedge", tally)

    async def _call(self, slot: Slot, chain: "_Chain", kind: Kind, tally: Tally) -> Answer:
        """One call on one worker, and what it teaches about that worker."""
        chunk, worker, began = chain.chunk, slot.worker, self._loop.time()
        tally.attempts += 1
        span = current_span.get().attempt(kind)
        outcome = "abandoned"
        try:
            async with self._experience.patience(slot, chunk, began, longer_than_s=chain.longest_s):
                answer = await worker.link.score(chunk)
            outcome = "ok"
            self._experience.succeeded(slot, chunk, self._loop.time() - began)
        except TimeoutError:
            took_s = self._loop.time() - began
            chain.longest_s = max(chain.longest_s, took_s)
            stalled = Stalled(f"{worker.name} didn't answer for {took_s:.1f} s")
            outcome = stalled.outcome
            if self._experience.counts_as_hung(slot, took_s):
                self._report(slot, chain, stalled)
            if self._loop.time() >= chunk.caller.deadline:
                message = f"Time ran out while {worker.name} worked on {len(chunk.pairs)} documents."
                raise OutOfTime(message) from None
            raise stalled from None
        except WorkerError as error:
            outcome = error.outcome
            self._report(slot, chain, error)
            raise
        finally:
            self._metrics.attempt(
                worker.name, kind, outcome, documents=len(chunk.pairs), seconds=self._loop.time() - began
            )
            span.end(outcome)
        return answer

    def _report(self, slot: Slot, chain: "_Chain", error: WorkerError) -> None:
        """What a failure says; of one about the content it is known only later what that is."""
        if not retry.objects_to_content(error):
            self._experience.failed(slot, chain.chunk, error)
        elif not slot.is_outdated:
            chain.objections.append((slot, error))

    def _settle_blame(self, chain: "_Chain") -> None:
        """Another worker scored what these objected to: the content wasn't at fault, they were."""
        for slot, error in chain.objections:
            self._experience.failed(slot, chain.chunk, error)

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
        return allowed and (retry.is_free(error) or self._pays_for_retry(chain.chunk.caller))

    def _pays_for_retry(self, caller: Caller) -> bool:
        """Whether the key's budget has paid for one more try."""
        is_paid = self._retries[caller.key].withdraw(self._loop.time())
        if not is_paid:
            self._metrics.retry_denied()
        return is_paid

    def _pause_s(self, chain: "_Chain") -> float:
        return retry.pause_s(tries=chain.tries, another_worker=self._has_another_worker(chain), rng=self._rng)

    def _is_too_late(self, chain: "_Chain", pause_s: float) -> bool:
        """Whether no time would be left after a pause: the last failure is told at once, then."""
        return self._loop.time() + pause_s >= chain.chunk.caller.deadline

    def _has_another_worker(self, chain: "_Chain") -> bool:
        usable = self._fleet.usable(chain.chunk.fingerprint)
        return any(worker not in chain.tried and not worker.rests_long(self._loop.time()) for worker in usable)


class _Chain:
    """The attempts of one chunk: where it has been, what that has cost, and who objected to its content.

    `longest_s` is how long a call was waited for in vain.
    """

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.tried: set[Worker] = set()
        self.tries = 0
        self.longest_s = 0.0
        self.objections: list[tuple[Slot, WorkerError]] = []
