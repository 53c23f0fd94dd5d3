"""The routes under `/admin`: what an operator sees of this replica, and what can be changed while it runs."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from app import __version__
from app.address import without_password
from app.api import reports
from app.api.answers import answer
from app.api.dialects.base import bad_input
from app.api.guard import Guard, Serve
from app.api.intake import Intake
from app.api.orders import DrainBody, FlushBody, Order, UndrainBody, described
from app.auth import Keys
from app.cache.pairs import PairCache
from app.errors import LastWorker, UnknownModel, UnknownWorker
from app.fleet.fleet import Fleet
from app.fleet.worker import Worker
from app.incoming import Incoming
from app.metrics import Metrics
from app.metrics.catalog import caches, requests
from app.metrics.history import INTERVAL_S, History
from app.settings import Settings, warnings_about

if TYPE_CHECKING:
    from app.cache.redis import RedisTier

Asked = TypeVar("Asked", bound=Order)

_LONGEST_NAME = 100


class AdminApi:
    """Serves every route under `/admin`.

    Args:
        intake: Reads bodies.
        fleet: Whose workers are shown and drained.
        cache: Is shown and flushed.
        shared: The tier that replicas share, if there is one.
        metrics: Where counts since the start come from.
        history: Where recent figures come from.
        settings: As they were read at the start.
        keys: Whether clients need one.
        is_draining: Whether this replica is about to stop.
    """

    def __init__(
        self,
        *,
        intake: Intake,
        fleet: Fleet,
        cache: PairCache,
        shared: "RedisTier | None",
        metrics: Metrics,
        history: History,
        settings: Settings,
        keys: Keys,
        is_draining: Callable[[], bool],
    ) -> None:
        self._intake = intake
        self._fleet = fleet
        self._cache = cache
        self._shared = shared
        self._metrics = metrics
        self._history = history
        self._settings = settings
        # Files of keys are read now: they may have changed by the time somebody asks.
        self._shown = reports.SettingsReport(settings=settings.shown(), warnings=warnings_about(settings))
        self._keys = keys
        self._is_draining = is_draining
        self._started = monotonic()
        self._log = structlog.get_logger()

    def router(self, guard: Guard) -> APIRouter:
        """The routes behind their guard, described for OpenAPI."""
        router = APIRouter(prefix="/admin", tags=["admin"])
        seen: list[tuple[str, Serve, type, str]] = [
            ("/workers", self.workers, reports.FleetReport, "The workers, and where they are found"),
            ("/cache", self.cache, reports.CacheReport, "The cache, and where scores came from"),
            ("/settings", self.settings, reports.SettingsReport, "The settings, without secrets"),
            ("/stats", self.stats, reports.StatsReport, "This replica, and its last 5 minutes"),
        ]
        for path, serve, report, summary in seen:
            router.add_api_route(path, guard.guarded(serve), methods=["GET"], **described(summary, report))
        done: list[tuple[str, Serve, type, type[Order], str]] = [
            ("/workers/drain", self.drain, reports.WorkerReport, DrainBody, "Give a worker no more work"),
            ("/workers/undrain", self.undrain, reports.WorkerReport, UndrainBody, "Give a worker work again"),
            ("/cache/flush", self.flush, reports.FlushReport, FlushBody, "Forget a model's scores"),
        ]
        for path, serve, report, order, summary in done:
            router.add_api_route(path, guard.guarded(serve), methods=["POST"], **described(summary, report, order))
        return router

    async def workers(self, request: Request) -> Response:
        """All workers, and their sources."""
        found = [reports.worker_report(worker, _now()) for worker in self._fleet.workers]
        sources = [reports.SourceReport(name=one.name, trouble=one.trouble) for one in self._fleet.sources]
        return answer(reports.FleetReport(workers=found, sources=sources))

    async def drain(self, request: Request) -> Response:
        """Keep new work from a worker. It may be the last of a model only by force."""
        asked = await self._read(request, DrainBody)
        worker = self._worker(asked.worker)
        lost = self._fleet.depending_on(worker)
        if lost and not asked.force:
            message = (
                f"{worker.name} is the last usable worker of {', '.join(lost)}: send force to drain it all the same."
            )
            raise LastWorker(message, param="worker")
        if not worker.is_drained:
            self._fleet.drain(worker)
            self._log.info("worker_drained", worker=worker.name, calls=worker.calls)
        return answer(reports.worker_report(worker, _now()))

    async def undrain(self, request: Request) -> Response:
        """Let a worker have work again."""
        worker = self._worker((await self._read(request, UndrainBody)).worker)
        if worker.is_drained:
            self._fleet.undrain(worker)
            self._log.info("worker_undrained", worker=worker.name)
        return answer(reports.worker_report(worker, _now()))

    async def cache(self, request: Request) -> Response:
        """What the cache holds, and what it was good for."""
        url = self._settings.redis_url
        documents = self._metrics.samples(requests.DOCUMENTS)
        return answer(
            reports.CacheReport(
                enabled=self._settings.cache,
                pairs=len(self._cache.memory),
                bytes=self._cache.memory.size_bytes,
                max_bytes=self._settings.cache_max_bytes,
                ttl_s=self._settings.cache_ttl_s,
                documents={one.labels["source"]: int(one.value) for one in documents},
                evictions=sum(int(one.value) for one in self._metrics.samples(caches.EVICTIONS)),
                generations=self._cache.generations(),
                shared=reports.SharedReport(usable=self._shared.is_usable, url=without_password(url.get_secret_value()))
                if self._shared and url
                else None,
            )
        )

    async def flush(self, request: Request) -> Response:
        """Forget all scores of a model."""
        asked = (await self._read(request, FlushBody)).model
        known = self._fleet.models()
        if asked not in known:
            names = ", ".join(sorted(known)) or "none yet"
            raise UnknownModel(f"No worker serves {asked[:_LONGEST_NAME]}; there is {names}.", param="model")
        model = known[asked].model
        self._cache.flush(model)
        self._log.info("cache_flushed", model=model)
        return answer(reports.FlushReport(model=model, flushed=True, replicas=self._reach()))

    async def settings(self, request: Request) -> Response:
        """The settings as they were read at the start, and what was warned about."""
        return answer(self._shown)

    async def stats(self, request: Request) -> Response:
        """What this replica does, and did lately."""
        return answer(
            reports.StatsReport(
                version=__version__,
                uptime_s=monotonic() - self._started,
                is_draining=self._is_draining(),
                needs_key=not self._keys.is_open,
                models=sorted(self._fleet.models()),
                interval_s=INTERVAL_S,
                points=self._history.points(_now()),
            )
        )

    async def _read(self, request: Request, kind: type[Asked]) -> Asked:
        with self._intake.charge("admin") as charge:
            body = await self._intake.read(Incoming(request.scope, request.receive), charge)
            try:
                return kind.model_validate(body)
            except ValidationError as exc:
                raise bad_input(exc) from None

    def _worker(self, name: str) -> Worker:
        for worker in self._fleet.workers:
            if worker.name == name:
                return worker
        names = ", ".join(sorted(worker.name for worker in self._fleet.workers)) or "none"
        raise UnknownWorker(f"No worker is called {name[:_LONGEST_NAME]}; there is {names}.", param="worker")

    def _reach(self) -> str:
        """Where a flush holds, and from when on."""
        if self._shared is None:
            return "this one only: without Redis, each replica is flushed by itself"
        if self._shared.is_usable:
            return "this one at once, the others within 5 s"
        return "this one at once, the others when Redis is back"


def _now() -> float:
    return asyncio.get_running_loop().time()
