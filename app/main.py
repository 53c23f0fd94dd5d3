"""The composition root: settings in, ASGI application out."""

import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from random import Random
from secrets import token_bytes
from typing import TYPE_CHECKING

import structlog
from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from app import __version__
from app.admission import Admission
from app.api import dialects
from app.api.answers import error_answer
from app.api.door import Door
from app.api.intake import Intake
from app.api.rerank import ROUTES, RerankApi
from app.api.service import service_router
from app.auth import Keys
from app.cache import agreed
from app.cache.memory import MemoryTier
from app.cache.pairs import PairCache
from app.dispatch import Dispatch
from app.errors import RerankError, UnknownRoute, WrongMethod
from app.fallback import Fallback
from app.fleet.discovery import sources
from app.fleet.discovery.source import Source
from app.fleet.fleet import Fleet
from app.fleet.keeper import Keeper
from app.fleet.lexical import LexicalLink
from app.fleet.link import HttpLink, WorkerLink
from app.fleet.probe import Probe
from app.fleet.worker import Worker
from app.flights import Flights
from app.gateway import Gateway
from app.metrics import Metrics
from app.policy.limit import Limit
from app.schedule import Schedule
from app.server import Drain
from app.settings import Settings
from app.spans import Traces
from app.tls import Certificates

if TYPE_CHECKING:
    from app.cache.redis import RedisTier

LinkFactory = Callable[[str, Settings], WorkerLink]
Search = Callable[[Sequence[str], Random], Sequence[Source]]


def reach(url: str, settings: Settings, tls: ssl.SSLContext | None = None) -> WorkerLink:
    """The link for a worker's URL; `lexical://` is the embedded worker."""
    if url.startswith("lexical://"):
        return LexicalLink()
    key = settings.worker_api_key.get_secret_value() if settings.worker_api_key else None
    return HttpLink(url, api_key=key, connect_timeout_s=settings.worker_connect_timeout_s, tls=tls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Everything that scores, without its HTTP side."""

    fleet: Fleet
    probe: Probe
    keeper: Keeper
    schedule: Schedule
    admission: Admission
    cache: PairCache
    shared: "RedisTier | None"
    flights: Flights
    gateway: Gateway
    metrics: Metrics

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Find and watch workers until the end of the block, then let go of their connections."""
        async with self.shared.running() if self.shared else nullcontext(), self.keeper.running():
            yield


def assemble(
    settings: Settings, *, link_factory: LinkFactory = reach, search: Search = sources, rng: Random | None = None
) -> Engine:
    """Put the engine together.

    Args:
        settings: Checked and frozen.
        link_factory: Makes the link to each worker; where tests put workers of their own.
        search: Makes the sources of workers; where tests put sources of their own.
        rng: Chance for balancing and jitter; tests seed it.
    """
    rng = rng or Random()  # noqa: S311 - balancing and jitter, no secrets
    metrics = Metrics()
    fleet = Fleet(search(settings.workers, rng), settings)
    probe = Probe(
        revisions={name: own.revision for name, own in settings.models.items()},
        interval_s=settings.probe_interval_s,
        timeout_s=settings.probe_timeout_s,
        changed=fleet.change,
        metrics=metrics,
        rng=rng,
    )
    keeper = Keeper(
        fleet, probe=probe, metrics=metrics, hire=lambda url: _worker(link_factory(url, settings), settings)
    )
    schedule = Schedule(fleet, no_worker_wait_s=settings.no_worker_wait_s, rng=rng)
    admission = Admission(schedule, settings)
    cache, shared = _cache(settings, metrics)
    dispatch = Dispatch(
        schedule=schedule, fleet=fleet, probe=probe, cache=cache, metrics=metrics, settings=settings, rng=rng
    )
    flights = Flights(
        admission=admission, dispatch=dispatch, schedule=schedule, fleet=fleet, settings=settings, metrics=metrics
    )
    fallback = (
        Fallback(fleet, hold_s=settings.fallback_hold_s, metrics=metrics) if settings.fallback != "none" else None
    )
    gateway = Gateway(
        fleet=fleet,
        cache=cache,
        flights=flights,
        dispatch=dispatch,
        fallback=fallback,
        settings=settings,
        metrics=metrics,
    )
    metrics.watch(
        schedule=schedule,
        admission=admission,
        dispatch=dispatch,
        flights=flights,
        memory=cache.memory,
        shared=shared,
    )
    return Engine(
        fleet=fleet,
        probe=probe,
        keeper=keeper,
        schedule=schedule,
        admission=admission,
        cache=cache,
        shared=shared,
        flights=flights,
        gateway=gateway,
        metrics=metrics,
    )


def _cache(settings: Settings, metrics: Metrics) -> tuple[PairCache, "RedisTier | None"]:
    generations, weights = agreed.Generations(), agreed.Weights()
    shared = None
    if settings.redis_url and settings.cache:
        # Loading the library takes a sixth of the start, which only those pay who use it.
        from app.cache.redis import RedisTier  # noqa: PLC0415

        shared = RedisTier(
            settings.redis_url.get_secret_value(),
            timeout_s=settings.redis_timeout_s,
            ttl_s=settings.cache_ttl_s,
            merge=partial(agreed.merge, generations, weights),
            metrics=metrics,
        )
    cache = PairCache(
        memory=MemoryTier(settings.cache_max_bytes),
        shared=shared,
        generations=generations,
        weights=weights,
        secret=_cache_secret(settings),
        ttl_s=settings.cache_ttl_s,
        shares_keys=settings.cache_shared,
        metrics=metrics,
    )
    return cache, shared


def _cache_secret(settings: Settings) -> bytes:
    """The key of the digests: what replicas share scores by has to be the same for all of them."""
    written = settings.cache_secret
    if written is not None:
        return blake2b(written).digest()
    return b"" if settings.redis_url else token_bytes(64)


def _worker(link: WorkerLink, settings: Settings) -> Worker:
    limit = Limit(least=settings.worker_min_documents, most=settings.worker_max_documents, chunk=settings.max_batch)
    return Worker(link, limit=limit, max_calls=settings.worker_max_calls)


def create_app(
    settings: Settings,
    *,
    link_factory: LinkFactory | None = None,
    search: Search = sources,
    rng: Random | None = None,
    drain: Drain | None = None,
    keys: Keys | None = None,
    certificates: Certificates | None = None,
) -> FastAPI:
    """The gateway as an ASGI application.

    Args:
        settings: Checked and frozen.
        link_factory: Makes the link to each worker; where tests put workers of their own.
        search: Makes the sources that say where workers are.
        rng: Chance for balancing and jitter.
        drain: Set by the server when it is told to stop.
        keys: Who may call; by default those of the settings.
        certificates: Shown to workers; by default those of the settings.
    """
    certificates = certificates or Certificates(settings)
    link_factory = link_factory or partial(reach, tls=certificates.towards_workers)
    engine = assemble(settings, link_factory=link_factory, search=search, rng=rng)
    keys = keys or Keys(settings.keys)
    drain = drain or Drain()
    traces = _traces(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if not settings.workers:
            structlog.get_logger().warning(
                "no_workers_configured",
                advice="RERANK_WORKERS is empty: scores are lexical word matching, not a neural model",
            )
        async with aclosing(traces), engine.running():
            yield

    app = _described(lifespan)
    intake = Intake(settings)
    engine.metrics.watch_intake(intake)
    rerank = RerankApi(
        gateway=engine.gateway,
        intake=intake,
        keys=keys,
        settings=settings,
        metrics=engine.metrics,
        traces=traces,
    )
    app.include_router(rerank.router())
    app.include_router(
        service_router(
            fleet=engine.fleet,
            keys=keys,
            metrics=engine.metrics,
            has_fallback=settings.fallback != "none",
            is_draining=lambda: drain.has_begun,
        )
    )
    app.add_exception_handler(HTTPException, _unknown_place)
    app.add_middleware(Door, is_draining=lambda: drain.has_begun, posts=dict.fromkeys(ROUTES, rerank.serve))
    return app


def _described(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> FastAPI:
    """An application without routes that serves its own description, also where there is no internet."""
    return FastAPIOffline(
        title="rerank-gateway",
        version=__version__,
        description="Reranks documents over vLLM workers, in the shapes of vLLM, Jina, Cohere, TEI and Voyage.",
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        # FastAPI would write query strings and the messages of errors into spans and logs of its own.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )


def _traces(settings: Settings) -> Traces:
    if not settings.traces:
        return Traces()
    # An extra: not everybody has what this loads.
    from app.tracing import ExportedTraces  # noqa: PLC0415

    return ExportedTraces()


async def _unknown_place(request: Request, exc: Exception) -> Response:
    """404 and 405 in the shape all other errors have."""
    path = request.scope["path"]
    if isinstance(exc, HTTPException) and exc.status_code == WrongMethod.status:
        error: RerankError = WrongMethod(f"{request.method} is not served here: see /docs.")
    else:
        error = UnknownRoute("There is nothing here: POST to /rerank, /v1/rerank, /v2/rerank or /v1/score; see /docs.")
    response = error_answer(error, dialects.foretell(path, None), path)
    response.headers.update(getattr(exc, "headers", None) or {})
    return response
