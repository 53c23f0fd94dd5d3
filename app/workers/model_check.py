"""The model check: pairs whose order nobody disputes tell what kind a model is, and whether it is served rightly."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from random import getrandbits

import structlog

from app.aio import OnLoop, cancel_on_exit
from app.cache.check_results import CheckResults
from app.errors import Busy, ClosedMidResponse, NotFinite, Unreachable, WorkerError
from app.policy.check_verdict import CheckResult
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.supervision import supervised
from app.types import Answer, Fingerprint, Pairs
from app.workers.check_scores import Score, check
from app.workers.lexical import LEXICAL_MODEL
from app.workers.prober import Prober
from app.workers.profiles import Profiles
from app.workers.registry import Registry
from app.workers.suspect_gauge import SuspectGauge
from app.workers.worker import Worker

CHECK_PREFIX = "check-"
# Of a worker's time, for all calls of a check together.
_MOST_S = 2.0
# Of the time that a probe has, for one call: other replicas' probes wait behind it.
_CALL_SHARE = 0.5
# For which a call waits until its worker is idle; then it goes beside requests, if there is room.
_PATIENCE_S = 5.0
# Within which other replicas' results are heard of.
_HEARSAY_S = 1.0
# After a check that didn't come to its end; doubled each time.
_RETRY_S, _LONGEST_RETRY_S = 5.0, 300.0
# What is served wrongly may be mended and keep its fingerprint.
_SUSPECT_AGAIN_S = 300.0
_NOT_FINITE = CheckResult(suspicion="not_finite")


@dataclass(slots=True)
class _Plan:
    """When a fingerprint is checked next, on the loop's clock.

    Args:
        due_at: Infinite once it has passed.
        failures: Checks in a row that didn't come to their end.
        told: The result that was logged last.
        scores: By what was sent, of a check that didn't come to its end: the next goes on from there, so that a slow
            worker is checked in the end.
    """

    due_at: float
    failures: int = 0
    told: CheckResult | None = None
    scores: dict[tuple[Hashable, ...], Sequence[float]] = field(default_factory=dict)


class ModelCheck(OnLoop):
    """Checks each fingerprint when it is first seen, and suspect ones again every five minutes.

    A check's calls go one at a time to a worker that has nothing else to do. As probes, they take no slot; neither
    goes to a worker beside the other, which it might keep past its time limit.

    Args:
        registry: The workers.
        profiles: Say how a result is read.
        results: Keep what is found, here and by other replicas.
        settings: The largest call, and what is declared of each model.
        prober: Looks again at a worker whose connection died under a call.
        metrics: Show suspect models.
        ask_replicas: Has other replicas' results brought soon; None where nothing is shared.
    """

    def __init__(
        self,
        registry: Registry,
        profiles: Profiles,
        results: CheckResults,
        settings: Settings,
        *,
        prober: Prober,
        metrics: Metrics,
        ask_replicas: Callable[[], None] | None,
    ) -> None:
        self._registry = registry
        self._profiles = profiles
        self._results = results
        self._settings = settings
        self._prober = prober
        self._metrics = metrics
        self._ask_replicas = ask_replicas
        self._request_id = f"{CHECK_PREFIX}{getrandbits(64):016x}"
        self._plans: dict[Fingerprint, _Plan] = {}
        self._woken = asyncio.Event()
        self._log = structlog.get_logger()
        self._gauge = SuspectGauge(registry, results, settings, metrics)
        registry.on_change(self._woken.set)
        results.on_change(self._hear)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Check models until the end of the block."""
        async with cancel_on_exit(supervised("model_check", self._run, metrics=self._metrics)):
            yield

    def _hear(self) -> None:
        """Look at what other replicas have found."""
        self._gauge.refresh()
        self._woken.set()

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            self._note_broken_models()
            served = self._served()
            self._plans = {one: self._plans.get(one) or self._new_plan(one) for one in served}
            for fingerprint, workers in served.items():
                await self._check_if_due(fingerprint, workers)
            due_at = min((plan.due_at for plan in self._plans.values()), default=float("inf"))
            with suppress(TimeoutError):
                async with asyncio.timeout_at(None if due_at == float("inf") else due_at):
                    await self._woken.wait()

    def _served(self) -> Mapping[Fingerprint, Sequence[Worker]]:
        """The usable workers of each fingerprint that is to be checked."""
        served: defaultdict[Fingerprint, list[Worker]] = defaultdict(list)
        for worker in self._registry.workers:
            for fingerprint in worker.serves.values() if worker.is_usable else ():
                self._gauge.show(fingerprint.model)
                if fingerprint.model != LEXICAL_MODEL:
                    served[fingerprint].append(worker)
        return served

    def _note_broken_models(self) -> None:
        """Suspect models whose scores of a probe's pairs are no numbers: no worker of theirs gets as far as a check."""
        for worker in self._registry.workers:
            for fingerprint in worker.says.values() if isinstance(worker.problem, NotFinite) else ():
                self._gauge.show(fingerprint.model)
                if self._results.of(fingerprint) is None:
                    self._found(fingerprint, _NOT_FINITE)
                    self._tell(fingerprint, _NOT_FINITE)

    def _new_plan(self, fingerprint: Fingerprint) -> _Plan:
        if result := self._results.of(fingerprint):
            # It was served before.
            return _Plan(self._next_check_at(result), told=result)
        self._results.want(fingerprint)
        if self._ask_replicas is None:
            return _Plan(self._loop.time())
        self._ask_replicas()
        return _Plan(self._loop.time() + _HEARSAY_S)

    def _next_check_at(self, result: CheckResult) -> float:
        return self._loop.time() + _SUSPECT_AGAIN_S if result.suspicion else float("inf")

    async def _check_if_due(self, fingerprint: Fingerprint, workers: Sequence[Worker]) -> None:
        plan = self._plans[fingerprint]
        result = self._results.of(fingerprint)
        if result and result is not plan.told:
            self._conclude(fingerprint, plan, result)
        if self._loop.time() < plan.due_at:
            return
        worker = min(workers, key=lambda worker: worker.documents)
        try:
            result = await self._check(worker, fingerprint, plan)
        except (WorkerError, TimeoutError) as exc:
            # What is wrong with a worker is for probes and requests to find out.
            pause_s = min(_LONGEST_RETRY_S, _RETRY_S * 2**plan.failures)
            plan.failures += 1
            plan.due_at = self._loop.time() + pause_s
            self._log.debug(
                "model_check_failed", model=fingerprint.model, worker=worker.name, reason=str(exc) or "slow"
            )
            return
        self._found(fingerprint, result)
        if self._ask_replicas:
            self._ask_replicas()
        self._conclude(fingerprint, plan, result)

    def _found(self, fingerprint: Fingerprint, result: CheckResult) -> None:
        self._results.found(fingerprint, result)
        self._gauge.refresh()

    def _conclude(self, fingerprint: Fingerprint, plan: _Plan, result: CheckResult) -> None:
        """Log a result that is news, and plan the next check."""
        before, plan.told, plan.failures = plan.told, result, 0
        plan.scores.clear()
        plan.due_at = self._next_check_at(result)
        if before != result:
            self._tell(fingerprint, result)

    def _tell(self, fingerprint: Fingerprint, result: CheckResult) -> None:
        model = fingerprint.model
        if suspicion := self._profiles.suspicion_of(fingerprint):
            told = {"reason": suspicion.reason, "seen": suspicion.seen, "cause": suspicion.cause, "fix": suspicion.fix}
            self._log.warning("model_suspect", model=model, **told)
        else:
            profile = self._profiles.of(fingerprint)
            told = {"kind": profile.kind, "truncation": profile.truncation, "score_scale": profile.score_scale}
            self._log.info("model_checked", model=model, **told, unsure_of=list(result.unsure_of))

    async def _check(self, worker: Worker, fingerprint: Fingerprint, plan: _Plan) -> CheckResult:
        """What the model's scores say.

        Raises:
            WorkerError, TimeoutError: the worker didn't give them, or had no time.
        """
        call = partial(self._call, worker, fingerprint, _Clock())
        return await check(partial(self._score, call, plan), fingerprint, self._settings.for_model(fingerprint.model))

    async def _score(self, call: Score, plan: _Plan, pairs: Pairs, fields: Mapping[str, int]) -> Sequence[float]:
        scores: list[float] = []
        for start in range(0, len(pairs), self._settings.max_batch):
            part = pairs.take(range(start, min(len(pairs), start + self._settings.max_batch)))
            sent = (*part.queries, *part.documents, *fields.items())
            if sent not in plan.scores:
                plan.scores[sent] = await call(part, fields)
            scores += plan.scores[sent]
        return scores

    async def _call(
        self, worker: Worker, fingerprint: Fingerprint, clock: "_Clock", pairs: Pairs, fields: Mapping[str, int]
    ) -> Sequence[float]:
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                while worker.calls:
                    await worker.finish()
        async with worker.own_call:
            self._check_room(worker, fingerprint)
            began = self._loop.time()
            async with asyncio.timeout(min(clock.left_s, _CALL_SHARE * self._settings.probe_timeout_s)):
                answer = await self._answer(worker, fingerprint.model, pairs, fields)
            clock.left_s -= self._loop.time() - began
        return answer.scores

    async def _answer(self, worker: Worker, model: str, pairs: Pairs, fields: Mapping[str, int]) -> Answer:
        try:
            return await worker.link.score(model, pairs, fields, request_id=self._request_id)
        except (Unreachable, ClosedMidResponse) as exc:
            # Whoever answers next may be another process, with other weights.
            self._prober.suspend(worker, exc)
            raise

    def _check_room(self, worker: Worker, fingerprint: Fingerprint) -> None:
        """Check that the worker may get a call: it may have left, or be busy after all.

        Raises:
            WorkerError: it may not.
        """
        if worker not in self._registry.usable(fingerprint):
            raise Unreachable(f"{worker.name} no longer serves what is checked")
        if not worker.has_room(self._loop.time()):
            raise Busy(f"{worker.name} has no room for a check")


@dataclass(slots=True)
class _Clock:
    """The seconds that a check may still take of its worker."""

    left_s: float = _MOST_S
