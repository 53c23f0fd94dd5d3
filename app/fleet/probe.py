"""Keeps asking each worker what it is and whether it scores, so that the fleet's picture of it stays true."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from random import Random

import structlog

from app.errors import Stalled, WorkerError
from app.fleet.link import Identity
from app.fleet.worker import Worker
from app.metrics import Metrics
from app.policy.drift import same_weights
from app.work import Caller, Chunk, Fingerprint, Pairs

_JITTER = 0.2
PROBE_ID = "rerank-gateway-probe"
# One query, as old workers need it, and texts that share more or less with it: their scores lie apart.
_PAIRS = Pairs(
    ["What is the capital of France?"],
    [
        "The capital of France is Paris.",
        "The capital of Brazil is Brasilia.",
        "France is known for its cheese.",
        "Horses and cows are both animals.",
    ],
)


class Probe:
    """One endless watch per worker.

    A worker that may not be used, or that has done nothing for a while, is asked to score fixed pairs within a time
    limit: `/health` answers 200 even while the engine hangs. A worker that is busy and answers is only asked what it
    serves; its queue can't condemn it.

    Args:
        revisions: The configured revision by model, part of the fingerprint.
        interval_s: How often a usable worker is asked.
        timeout_s: How long the fixed pairs may take.
        changed: Called after every change of a worker's state.
        metrics: Count probes.
        rng: Spreads the questions of several gateways.
    """

    def __init__(
        self,
        *,
        revisions: Mapping[str, str],
        interval_s: float,
        timeout_s: float,
        changed: Callable[[], None],
        metrics: Metrics,
        rng: Random,
    ) -> None:
        self._revisions = revisions
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._changed = changed
        self._metrics = metrics
        self._rng = rng
        self._suspected: dict[Worker, asyncio.Event] = {}
        # The scores by which weights were first told apart, by what they are scores of.
        self._known_scores: defaultdict[Fingerprint, list[list[float]]] = defaultdict(list)
        self._log = structlog.get_logger()

    def suspect(self, worker: Worker, trouble: WorkerError) -> None:
        """Take the worker out of use; its watch asks it as soon as its breaker lets it."""
        was_well = worker.is_well
        worker.suspect(trouble, asyncio.get_running_loop().time())
        # A worker that has left the fleet has no watch any more.
        if was_well and worker in self._suspected:
            self._log.warning("breaker_opened", worker=worker.name, reason=trouble.logged)
            self._suspected[worker].set()
            self._changed()

    async def watch(self, worker: Worker) -> None:
        """Ask the worker, for ever."""
        suspected = self._suspected[worker] = asyncio.Event()
        try:
            while True:
                suspected.clear()
                await self.ask(worker)
                await self._until_due(worker)
        finally:
            del self._suspected[worker]

    async def ask(self, worker: Worker) -> None:
        """Ask once, and take what it says as true."""
        loop = asyncio.get_running_loop()
        before = _seen(worker)
        must_score = not worker.is_well or self._is_idle(worker, loop.time())
        worker.breaker.begin_probe()
        try:
            async with asyncio.timeout(self._timeout_s):
                serves = self._fingerprints(await worker.link.identify())
                if must_score or serves.keys() != worker.serves.keys():
                    serves = {model: await self._weighed(worker, mark) for model, mark in serves.items()}
                else:
                    serves = {
                        model: mark._replace(weights=worker.serves[model].weights) for model, mark in serves.items()
                    }
        except TimeoutError:
            outcome = Stalled.outcome
            worker.suspect(Stalled(f"{worker.name} didn't score a probe in {self._timeout_s:g} s"), loop.time())
        except WorkerError as exc:
            outcome = exc.outcome
            # It said them of texts of ours, and the operator needs them.
            exc.words = ""
            worker.suspect(exc, loop.time())
        else:
            outcome = "drifted" if _has_drifted(worker.serves, serves) else "ok"
            worker.shown(serves)
        self._metrics.probe(worker.name, outcome)
        if _seen(worker) != before:
            write, reason = self._log.info, {}
            if worker.trouble:
                write, reason = self._log.warning, {"reason": worker.trouble.logged}
            write("worker_changed", worker=worker.name, usable=worker.is_usable, models=sorted(worker.serves), **reason)
            self._changed()

    async def _until_due(self, worker: Worker) -> None:
        now = asyncio.get_running_loop().time()
        if not worker.is_well:
            await asyncio.sleep(max(0.0, worker.breaker.probe_at - now) * self._rng.uniform(1, 1 + _JITTER))
            return
        try:
            async with asyncio.timeout(self._interval_s * self._rng.uniform(1 - _JITTER, 1 + _JITTER)):
                await self._suspected[worker].wait()
        except TimeoutError:
            return
        await self._until_due(worker)

    def _is_idle(self, worker: Worker, now: float) -> bool:
        return worker.calls == 0 and now - worker.last_success_at >= self._interval_s

    def _fingerprints(self, identity: Identity) -> dict[str, Fingerprint]:
        return {
            model.name: Fingerprint(
                model.name, model.root, model.max_model_len, identity.version, self._revisions.get(model.name, "")
            )
            for model in identity.models
        }

    async def _weighed(self, worker: Worker, mark: Fingerprint) -> Fingerprint:
        """The fingerprint with the scores of the fixed pairs in it, as they were when such scores were first seen."""
        caller = Caller(key="", request_id=PROBE_ID, deadline=0)
        chunk = Chunk(pairs=_PAIRS, fingerprint=mark, fields={}, pair_tokens=(), caller=caller, tokens=0)
        scores = (await worker.link.score(chunk)).scores
        known = self._known_scores[mark]
        weights = next((earlier for earlier in known if same_weights(earlier, scores)), None)
        if weights is None:
            known.append(scores)
            weights = scores
        return mark._replace(weights=",".join(f"{score:.2f}" for score in weights))


def _has_drifted(before: Mapping[str, Fingerprint], after: Mapping[str, Fingerprint]) -> bool:
    """Whether some model is all it was before, but with other weights."""
    both = [(before[model], mark) for model, mark in after.items() if model in before]
    return any(old != new and old._replace(weights=new.weights) == new for old, new in both)


def _seen(worker: Worker) -> tuple[object, ...]:
    """What those who wait for the worker go by; the kind of its trouble counts, since some don't pass by themselves."""
    return worker.is_usable, worker.serves, type(worker.trouble)
