"""The routes under `/admin`, where an operator sees the state of this replica and changes it while it runs."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from app import __version__
from app.api import admin_schemas
from app.api.admin_auth import AdminAuth, Serve
from app.api.admin_schemas import AdminBody, DrainBody, FlushBody, UndrainBody, described
from app.api.auth import Keys
from app.api.body import BodyReader
from app.api.dialects.base import bad_input
from app.api.request import HttpRequest
from app.api.responses import answer
from app.assembly import Assembly
from app.errors import LastWorker, UnknownModel, UnknownWorker
from app.settings import Settings, warnings_about
from app.settings.addresses import without_password
from app.telemetry.metrics.catalog import caches, requests
from app.telemetry.metrics.history import INTERVAL_S, History
from app.workers.worker import Worker

Asked = TypeVar("Asked", bound=AdminBody)

_LONGEST_NAME = 100


class AdminApi:
    """The endpoints under `/admin`.

    Args:
        assembly: All that scores: the workers to show and drain, the cache to show and flush, counts since the start.
        history: Where recent figures come from.
        bodies: Reads bodies.
        settings: As they were read at the start.
        keys: The API keys of clients.
        is_draining: Tells whether this replica is about to stop.
    """

    def __init__(
        self,
        assembly: Assembly,
        history: History,
        *,
        bodies: BodyReader,
        settings: Settings,
        keys: Keys,
        is_draining: Callable[[], bool],
    ) -> None:
        self._assembly = assembly
        self._registry = assembly.registry
        self._history = history
        self._bodies = bodies
        self._settings = settings
        # Reads the files of keys now: later they may have changed.
        self._shown = admin_schemas.SettingsReport(settings=settings.shown(), warnings=warnings_about(settings))
        self._keys = keys
        self._is_draining = is_draining
        self._started = monotonic()
        self._log = structlog.get_logger()

    def router(self, admin_auth: AdminAuth) -> APIRouter:
        """The routes behind `AdminAuth`, described for OpenAPI."""
        router = APIRouter(prefix="/admin", tags=["admin"])
        routes: list[tuple[str, Serve, type[AdminBody] | None, type, str]] = [
            ("/workers", self.workers, None, admin_schemas.WorkersReport, "The workers, and where they are found"),
            ("/cache", self.cache, None, admin_schemas.CacheReport, "The cache, and where scores came from"),
            ("/settings", self.settings, None, admin_schemas.SettingsReport, "The settings, without secrets"),
            ("/stats", self.stats, None, admin_schemas.StatsReport, "This replica, and its last 5 minutes"),
            ("/workers/drain", self.drain, DrainBody, admin_schemas.WorkerReport, "Give a worker no more work"),
            ("/workers/undrain", self.undrain, UndrainBody, admin_schemas.WorkerReport, "Give a worker work again"),
            ("/cache/flush", self.flush, FlushBody, admin_schemas.FlushReport, "Forget a model's scores"),
        ]
        for path, serve, body, report, summary in routes:
            method = "POST" if body else "GET"
            router.add_api_route(
                path, admin_auth.protected(serve), methods=[method], **described(summary, report, body)
            )
        return router

    async def workers(self, request: Request) -> Response:
        """All workers, and their sources."""
        found = [
            admin_schemas.worker_report(worker, _now(), self._assembly.profiles) for worker in self._registry.workers
        ]
        sources = [admin_schemas.SourceReport(name=one.name, problem=one.problem) for one in self._registry.sources]
        return answer(admin_schemas.WorkersReport(workers=found, sources=sources))

    async def drain(self, request: Request) -> Response:
        """Keep new work from a worker. The last usable one of a model is drained only with `force`."""
        asked = await self._read(request, DrainBody)
        worker = self._worker(asked.worker)
        lost = self._registry.depending_on(worker)
        if lost and not asked.force:
            message = (
                f"{worker.name} is the last usable worker of {', '.join(lost)}: send force to drain it all the same."
            )
            raise LastWorker(message, param="worker")
        if not worker.is_drained:
            worker.is_drained = True
            self._log.info("worker_drained", worker=worker.name, calls=worker.calls)
        return answer(admin_schemas.worker_report(worker, _now(), self._assembly.profiles))

    async def undrain(self, request: Request) -> Response:
        """Give a drained worker work again."""
        worker = self._worker((await self._read(request, UndrainBody)).worker)
        if worker.is_drained:
            worker.is_drained = False
            self._log.info("worker_undrained", worker=worker.name)
        return answer(admin_schemas.worker_report(worker, _now(), self._assembly.profiles))

    async def cache(self, request: Request) -> Response:
        """The size of the cache, and the documents it saved."""
        cache, metrics, settings = self._assembly.cache, self._assembly.metrics, self._settings
        return answer(
            admin_schemas.CacheReport(
                enabled=settings.cache,
                pairs=len(cache.memory),
                bytes=cache.memory.size_bytes,
                max_bytes=settings.cache_max_bytes,
                ttl_s=settings.cache_ttl_s,
                documents={one.labels["source"]: int(one.value) for one in metrics.samples(requests.DOCUMENTS)},
                evictions=sum(int(one.value) for one in metrics.samples(caches.EVICTIONS)),
                generations=cache.generations.known(),
                redis=self._redis_report(),
            )
        )

    async def flush(self, request: Request) -> Response:
        """Drop all cached scores of a model."""
        asked = (await self._read(request, FlushBody)).model
        known = self._registry.models()
        if asked not in known:
            names = ", ".join(sorted(known)) or "none yet"
            raise UnknownModel(f"No worker serves {asked[:_LONGEST_NAME]}; there is {names}.", param="model")
        model = known[asked].model
        self._assembly.cache.flush(model)
        self._log.info("cache_flushed", model=model)
        return answer(admin_schemas.FlushReport(model=model, flushed=True, replicas=self._where_flushed()))

    async def settings(self, request: Request) -> Response:
        """The settings as they were read at the start, and the warnings about them."""
        return answer(self._shown)

    async def stats(self, request: Request) -> Response:
        """The load of this replica, now and over the last minutes."""
        return answer(
            admin_schemas.StatsReport(
                version=__version__,
                uptime_s=monotonic() - self._started,
                is_draining=self._is_draining(),
                needs_key=not self._keys.is_open,
                models=sorted(self._registry.models()),
                interval_s=INTERVAL_S,
                points=self._history.points(_now()),
            )
        )

    async def _read(self, request: Request, kind: type[Asked]) -> Asked:
        with self._bodies.reservation("admin") as reservation:
            body = await self._bodies.read(HttpRequest(request.scope, request.receive), reservation)
            try:
                return kind.model_validate(body)
            except ValidationError as exc:
                raise bad_input(exc) from None

    def _worker(self, name: str) -> Worker:
        for worker in self._registry.workers:
            if worker.name == name:
                return worker
        names = ", ".join(sorted(worker.name for worker in self._registry.workers)) or "none"
        raise UnknownWorker(f"No worker is called {name[:_LONGEST_NAME]}; there is {names}.", param="worker")

    def _redis_report(self) -> admin_schemas.RedisReport | None:
        redis, url = self._assembly.redis, self._settings.redis_url
        if redis is None or url is None:
            return None
        return admin_schemas.RedisReport(usable=redis.is_usable, url=without_password(url.get_secret_value()))

    def _where_flushed(self) -> str:
        """The replicas that a flush reaches, and when, in words."""
        if self._assembly.redis is None:
            return "this one only: without Redis, each replica is flushed by itself"
        if self._assembly.redis.is_usable:
            return "this one at once, the others within 5 s"
        return "this one at once, the others when Redis is back"


def _now() -> float:
    return asyncio.get_running_loop().time()
