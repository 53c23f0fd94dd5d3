"""The prober: asks each worker, again and again, what it serves and whether it scores."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import structlog

from app.aio import OnLoop, StallDetector
from app.errors import AttemptTimeout, Busy, OutOfFiles, Unreachable, WorkerError
from app.policy.pace import Pace
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.supervision import supervised
from app.types import Fingerprint
from app.workers.fingerprinter import Fingerprinter, without_probe_scores
from app.workers.worker import Worker

_JITTER = 0.2
# Between two probes, however often a worker seems to have been restarted.
_SHORTEST_INTERVAL_S = 1.0
# Probe intervals after which even a worker that is busy all the time has to score again.
_INTERVALS_PER_SCORING = 3
# Probes of thousands of workers that are found at once would keep requests waiting for seconds, and end by their own
# time limits.
_PROBES_PER_S = 250
_PROBES_AT_ONCE = 50
# The rest is for workers that are new or in doubt: with more than this per interval, the others' takes longer.
_ROUTINE_PROBES_PER_S = 200

Found = Mapping[str, Fingerprint] | WorkerError


@dataclass(slots=True, eq=False)
class _Watch:
    """The state of one worker's watch; times are on the loop's clock.

    Args:
        woken: Set when it may be due earlier than it was.
        scored_at: When a probe last had it score the fixed pairs.
        doubted_at: When something last hinted that it was restarted.
    """

    woken: asyncio.Event = field(default_factory=asyncio.Event)
    scored_at: float = float("-inf")
    doubted_at: float = float("-inf")

    @property
    def is_doubted(self) -> bool:
        """True when the worker may have other weights than when it last scored the fixed pairs."""
        return self.doubted_at > self.scored_at


class Prober(OnLoop):
    """Probes each worker in an endless watch.

    A worker that may not be used, backs off, or has been idle for an interval has to score fixed pairs within a time
    limit: `/health` answers 200 even while the engine hangs. A worker that is busy and answers is asked what it serves,
    and has to score now and then, since it may have new weights; that they wait in its queue is no failure.

    A probe's result is discarded when a call took the worker out of use meanwhile: the next one will tell. So is its
    failure while this process itself stood still. Of very many workers only a few are probed at once.

    Args:
        settings: How often a usable worker is asked, how long the fixed pairs may take, the models' revisions.
        stalls: Detects that this process stood still.
        metrics: Count probes.
        rng: Spreads the probes of several gateways.
    """

    def __init__(self, settings: Settings, *, stalls: StallDetector, metrics: Metrics, rng: Random) -> None:
        self._fingerprinter = Fingerprinter(settings)
        self._interval_s = settings.probe_interval_s
        self._timeout_s = settings.probe_timeout_s
        self._stalls = stalls
        self._metrics = metrics
        self._rng = rng
        self._pace = Pace(per_s=_PROBES_PER_S, burst=_PROBES_AT_ONCE)
        self._watches: dict[Worker, _Watch] = {}
        self._log = structlog.get_logger()

    def mark_failing(self, worker: Worker, problem: WorkerError) -> None:
        """Take the worker out of use; it is probed as soon as its breaker allows."""
        was_well = worker.is_well
        worker.mark_failing(problem, self._loop.time())
        self._tell_of(worker, problem, was_well=was_well)

    def suspend(self, worker: Worker, problem: WorkerError) -> None:
        """Take the worker out of use and probe it at once: it may have been restarted, with other weights."""
        was_well = worker.is_well
        worker.suspend(problem, self._loop.time())
        self._tell_of(worker, problem, was_well=was_well)

    def doubt(self, worker: Worker) -> None:
        """Probe the worker's scores soon, and leave it in use: it may have been restarted, with other weights."""
        if watch := self._watches.get(worker):
            watch.doubted_at = self._loop.time()
            watch.woken.set()

    def _tell_of(self, worker: Worker, problem: WorkerError, *, was_well: bool) -> None:
        """Log that a call took the worker out of use, and wake its watch."""
        # A worker that has left the registry has no watch any more.
        if watch := self._watches.get(worker):
            if was_well:
                self._log.warning("breaker_opened", worker=worker.name, reason=problem.redacted)
            watch.woken.set()

    async def watch(self, worker: Worker) -> None:
        """Probe the worker, for ever. After an unforeseen failure of this task it isn't used, and probed again."""

        def failed(failure: BaseException) -> None:
            reason = f"{worker.name} can't be asked: {type(failure).__name__}; task_failed in the log says more"
            worker.mark_failing(WorkerError(reason), self._loop.time())

        watch = self._watches[worker] = _Watch()
        try:
            await supervised("probe", lambda: self._probe_on(worker, watch), metrics=self._metrics, failed=failed)
        finally:
            del self._watches[worker]

    async def _probe_on(self, worker: Worker, watch: _Watch) -> None:
        while True:
            if delay_s := self._pace.delay_s(self._loop.time()):
                await asyncio.sleep(delay_s)
            async with worker.own_call:
                await self._probe(worker, watch)
            await self._until_due(worker, watch)

    async def _until_due(self, worker: Worker, watch: _Watch) -> None:
        """Wait until the next probe is due: after the breaker's pause, the interval, or soon if in doubt."""
        spread, now = self._rng.uniform(1, 1 + _JITTER), self._loop.time()
        interval_s = max(self._interval_s, len(self._watches) / _ROUTINE_PROBES_PER_S)
        routine_at = now + interval_s * self._rng.uniform(1 - _JITTER, 1 + _JITTER)
        earliest_at = min(routine_at, now + _SHORTEST_INTERVAL_S)
        while True:
            now = self._loop.time()
            if worker.is_well:
                left_s = (earliest_at if watch.is_doubted else routine_at) - now
            else:
                left_s = (worker.breaker.probe_at - now) * spread
            if left_s <= 0:
                return
            watch.woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await watch.woken.wait()

    async def _probe(self, worker: Worker, watch: _Watch) -> None:
        """Probe the worker once."""
        worker.breaker.begin_probe()
        generation, began = worker.breaker.generation, self._loop.time()
        found: Found
        try:
            found = await self._look(worker, watch)
        except TimeoutError:
            found = AttemptTimeout(f"{worker.name} didn't score a probe in {self._timeout_s:g} s")
        except WorkerError as exc:
            # The worker said them of the gateway's own texts, and the operator needs them.
            exc.redacted = exc.message
            found = exc
        self._metrics.probe(worker.name, _outcome_of(found, worker.serves))
        if generation == worker.breaker.generation:
            self._conclude(worker, found, began)

    async def _look(self, worker: Worker, watch: _Watch) -> Mapping[str, Fingerprint]:
        """The models the worker serves now.

        Raises:
            TimeoutError, WorkerError: it may not work.
        """
        now = self._loop.time()
        must_score = not worker.is_well or worker.backs_off_until > now or self._is_idle(worker, now)
        async with asyncio.timeout(self._timeout_s):
            worker.says = fingerprints = await self._fingerprinter.identify(worker.link)
            if must_score or fingerprints != without_probe_scores(worker.serves):
                return await self._add_probe_scores(worker, watch, fingerprints)
        if watch.is_doubted or now - watch.scored_at >= _INTERVALS_PER_SCORING * self._interval_s:
            # It is busy: that the pairs wait in its queue is no failure.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timeout_s):
                    return await self._add_probe_scores(worker, watch, fingerprints)
        return worker.serves

    async def _add_probe_scores(
        self, worker: Worker, watch: _Watch, fingerprints: Mapping[str, Fingerprint]
    ) -> Mapping[str, Fingerprint]:
        began = self._loop.time()
        serves = await self._fingerprinter.add_probe_scores(worker.link, fingerprints)
        watch.scored_at = began
        return serves

    def _conclude(self, worker: Worker, found: Found, began: float) -> None:
        """Act on a probe's result, unless its failure is excused."""
        before, now = _logged_state(worker), self._loop.time()
        if not isinstance(found, WorkerError):
            worker.shown(found, since=began)
        elif worker.is_well and isinstance(found, Busy):
            worker.back_off(found.retry_after_s, now)
        elif not (worker.is_well and self._is_excused(worker, found, began)):
            worker.mark_failing(found, now)
        elif isinstance(found, Unreachable):
            # However it is excused, it may be a restart.
            self.doubt(worker)
        if _logged_state(worker) != before:
            write, reason = self._log.info, {}
            if worker.problem:
                write, reason = self._log.warning, {"reason": worker.problem.redacted}
            write("worker_changed", worker=worker.name, usable=worker.is_usable, models=sorted(worker.serves), **reason)

    def _is_excused(self, worker: Worker, failure: WorkerError, began: float) -> bool:
        """True when a failed probe says nothing: the worker answered calls meanwhile, or this process was the cause."""
        is_slow = isinstance(failure, AttemptTimeout) and worker.last_success_at >= began
        return is_slow or isinstance(failure, OutOfFiles) or self._stalls.has_just_stalled

    def _is_idle(self, worker: Worker, now: float) -> bool:
        return worker.calls == 0 and now - worker.last_success_at >= self._interval_s


def _outcome_of(found: Found, before: Mapping[str, Fingerprint]) -> str:
    """The outcome of a probe; `model_changed` when some model differs from before in nothing but its weights."""
    if isinstance(found, WorkerError):
        return found.outcome
    both = [(before[model], fingerprint) for model, fingerprint in found.items() if model in before]
    has_changed = any(old != new and old._replace(probe_scores=new.probe_scores) == new for old, new in both)
    return "model_changed" if has_changed else "ok"


def _logged_state(worker: Worker) -> tuple[object, ...]:
    """The state whose changes are logged; the problem's kind is part of it, since some don't pass by themselves."""
    return worker.is_usable, worker.serves, type(worker.problem)
