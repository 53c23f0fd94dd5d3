"""Outcomes of calls: what they say about their workers, and how long the next call may take."""

import asyncio
from collections import defaultdict

from app.aio import OnLoop, StallDetector
from app.errors import (
    Busy,
    ClosedBeforeResponse,
    ClosedMidResponse,
    LacksRoute,
    Misconfigured,
    OutOfFiles,
    Unreachable,
    WorkerError,
)
from app.policy.latency import Latencies, attempt_limit_s, stall_timeout_s
from app.queueing.scheduler import Scheduler
from app.queueing.slot import Slot
from app.scoring.stall_timeout import StallTimeout
from app.types import Fingerprint
from app.workers.prober import Prober
from app.workers.registry import Registry

# Times the limit of a silent worker: how long one that answers others meanwhile may take.
_BUSY_STALL_TIMEOUTS = 5


class CallOutcomes(OnLoop):
    """Records how calls went, and limits how long the next ones may take.

    Args:
        registry: Tells whether another worker could do better.
        scheduler: Told what got done.
        prober: Told about workers in doubt.
        stalls: Tells when this process stood still, which is no worker's fault.
    """

    def __init__(self, *, registry: Registry, scheduler: Scheduler, prober: Prober, stalls: StallDetector) -> None:
        self._registry = registry
        self._scheduler = scheduler
        self._prober = prober
        self._stalls = stalls
        self._latencies: defaultdict[Fingerprint, Latencies] = defaultdict(Latencies)

    def usual_s(self, slot: Slot, share: float) -> float | None:
        """Seconds within which `share` of the calls end on a worker that holds as much, if that is known.

        By what the worker holds, not by the call's own size: after a burst short queues are left as soon as ever.
        """
        return self._latencies[slot.chunk.fingerprint].quantile(share, slot.held_tokens)

    def stall_timeout(self, slot: Slot, now: float, *, longer_than_s: float) -> StallTimeout | asyncio.Timeout:
        """The time limit of a call: the request's deadline, unless another worker could do better.

        Args:
            slot: Where the call goes.
            now: On the loop's clock.
            longer_than_s: How long other calls with this chunk were waited for in vain.
        """
        deadline = slot.chunk.context.deadline
        if self._registry.usable(slot.chunk.fingerprint) == [slot.worker]:
            return asyncio.timeout_at(deadline)
        quiet_s = attempt_limit_s(left_s=deadline - now, p99_s=self.usual_s(slot, 0.99))
        until = now + min((deadline - now) / 2, _BUSY_STALL_TIMEOUTS * quiet_s)
        # What another worker had no time for would only be begun again and again, each time with half of what is left.
        usual_s = self.usual_s(slot, 0.5) or slot.worker.latency_s or 0.0
        useful_until = deadline - max(usual_s, longer_than_s)
        return StallTimeout(
            slot.worker, quiet_s=quiet_s, until=until if until <= useful_until else deadline, useful_until=useful_until
        )

    def counts_as_hung(self, slot: Slot, took_s: float) -> bool:
        """A call that had no answer for `took_s` is the worker's fault, not that of a short deadline."""
        return took_s >= stall_timeout_s(self.usual_s(slot, 0.99))

    def succeeded(self, slot: Slot, seconds: float) -> None:
        """Record a success of a worker."""
        worker, chunk = slot.worker, slot.chunk
        self.record_latency(slot, seconds)
        self._latencies[chunk.fingerprint].record(slot.held_tokens, seconds)
        worker.breaker.report(failed=False, generation=slot.generation)
        worker.limit.observe(documents=len(chunk.pairs), tokens=chunk.tokens, held=slot.held_documents, seconds=seconds)
        worker.succeeded(self._loop.time())
        self._scheduler.scored(chunk)

    def record_latency(self, slot: Slot, seconds: float) -> None:
        """Compare what a call took, or at least took, with what is usual for all that its worker held."""
        slot.worker.record_latency(seconds=seconds, usual_s=self.usual_s(slot, 0.5), now=self._loop.time())

    def failed(self, slot: Slot, error: WorkerError) -> None:
        """Record a failure of a worker; not one that began before the worker's last change, or that is our own."""
        worker = slot.worker
        is_telling = not slot.is_outdated and not isinstance(error, LacksRoute | OutOfFiles)
        has_died = isinstance(error, ClosedBeforeResponse | ClosedMidResponse)
        is_certain = isinstance(error, Unreachable | Misconfigured) and not has_died
        if isinstance(error, Busy):
            if is_telling:
                self._back_off(slot, error)
        elif self._stalls.has_just_stalled:
            if has_died or is_certain:
                self._prober.doubt(worker)
        elif is_telling and (is_certain or worker.breaker.report(failed=True, generation=slot.generation)):
            self._prober.mark_failing(worker, error)
        elif has_died:
            # Whoever answers next may be another process, with other weights, however old this call was.
            self._prober.suspend(worker, error)

    def _back_off(self, slot: Slot, error: Busy) -> None:
        """Give the worker no call for a while, and smaller ones when its own queue is too short for this one."""
        worker, documents = slot.worker, len(slot.chunk.pairs)
        worker.back_off(error.retry_after_s, self._loop.time())
        # vLLM's refusal of a chunk beyond its --max-num-queued-reqs names neither a limit nor a time.
        if error.retry_after_s is None and slot.held_documents == documents > 1:
            worker.lower_max_call_documents(documents, self._loop.time())
