"""The composition root: makes the ASGI application from the settings."""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from random import Random

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import StatefulLifespan

from app import __version__
from app.api import paths
from app.api.admin import AdminApi
from app.api.admin_auth import AdminAuth
from app.api.asgi import AsgiApp
from app.api.auth import Keys
from app.api.body import BodyReader
from app.api.bytes_in_flight import BytesInFlight
from app.api.cors import Cors
from app.api.dialects import PREFIXES, ROUTES
from app.api.rerank import RerankApi
from app.api.responses import refusal
from app.api.served_models import models_router
from app.api.service import service_router
from app.api.ui import ui_router
from app.assembly import Assembly, Search
from app.errors import RerankError, UnknownRoute, WrongMethod
from app.server import open_files
from app.server.clients import CLIENTS, Clients
from app.server.run import Drain
from app.settings import Settings
from app.settings.certificates import Certificates
from app.telemetry.metrics import Metrics
from app.telemetry.metrics.catalog import requests
from app.telemetry.metrics.history import History
from app.telemetry.spans import Traces
from app.workers.call_ids import CallIds
from app.workers.connect import LinkFactory, connect
from app.workers.discovery import sources


def create_app(
    settings: Settings,
    *,
    link_factory: LinkFactory | None = None,
    search: Search = sources,
    rng: Random | None = None,
    drain: Drain | None = None,
    keys: Keys | None = None,
    admin_keys: Keys | None = None,
    certificates: Certificates | None = None,
) -> AsgiApp:
    """The gateway as an ASGI application.

    Args:
        settings: The gateway's settings.
        link_factory: Makes the link to each worker; tests pass their own.
        search: Makes the sources that discover workers.
        rng: Randomness for balancing and jitter.
        drain: Marked by the server when it is about to stop.
        keys: Who may call; by default those of the settings.
        admin_keys: Who may operate the gateway; by default that of the settings.
        certificates: Shown to workers; by default those of the settings.
    """
    certificates = certificates or Certificates(settings)
    keys, drain = keys or Keys(settings.keys), drain or Drain()
    admin_auth = AdminAuth(admin_keys or Keys(settings.admin_keys), host=settings.host)
    link_factory = link_factory or partial(connect, tls=certificates.towards_workers, call_ids=CallIds())
    assembly = Assembly(settings, link_factory=link_factory, search=search, rng=rng)
    traces, history = _traces(settings), _history(assembly, admin_auth)
    clients = _clients(settings, assembly.metrics)
    bytes_in_flight = _bytes_in_flight(settings, keys, assembly.metrics)
    bodies = BodyReader(settings, bytes_in_flight)

    def is_draining() -> bool:
        return drain.has_begun

    rerank = RerankApi(
        gateway=assembly.gateway, bodies=bodies, keys=keys, settings=settings, metrics=assembly.metrics, traces=traces
    )
    admin = AdminApi(assembly, history, bodies=bodies, settings=settings, keys=keys, is_draining=is_draining)
    service = service_router(assembly, has_fallback=settings.fallback != "none", is_draining=is_draining)
    routers = [
        rerank.router(),
        models_router(assembly.registry, assembly.profiles, keys, settings),
        service,
        admin.router(admin_auth),
    ]
    routers += [ui_router(admin_auth)] if settings.ui else []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Clients]]:
        _warn_without_workers(settings)
        async with aclosing(traces), assembly.running(), history.running():
            yield {CLIENTS: clients}

    return AsgiApp(
        _described(lifespan, routers),
        is_draining=is_draining,
        bytes_in_flight=bytes_in_flight,
        posts=dict.fromkeys(ROUTES, rerank.serve),
        cors=Cors(settings.cors_origins) if settings.cors_origins else None,
    )


def _traces(settings: Settings) -> Traces:
    if not settings.traces:
        return Traces()
    # Its packages are an optional extra.
    from app.telemetry.otel import ExportedTraces  # noqa: PLC0415

    return ExportedTraces()


def _history(assembly: Assembly, admin_auth: AdminAuth) -> History:
    return History(
        assembly.metrics,
        queued_documents=lambda: assembly.scheduler.waiting_documents,
        pending_documents=lambda: assembly.admission.pending_documents,
        is_wanted=lambda: admin_auth.can_admit,
    )


def _clients(settings: Settings, metrics: Metrics) -> Clients:
    """The limit on connections, lowered with a warning when open files are too few for the setting."""
    allowed = open_files.for_clients(settings.max_connections)
    if settings.max_connections and allowed < settings.max_connections:
        structlog.get_logger().warning(
            "fewer_connections",
            max_connections=allowed,
            advice=f"RERANK_MAX_CONNECTIONS is {settings.max_connections}: raise the limit of open files (ulimit -n)",
        )
    clients = Clients(
        max_connections=allowed, write_timeout_s=settings.write_timeout_s, on_shed=metrics.connection_shed
    )
    metrics.read(requests.CONNECTIONS, lambda: clients.connections)
    return clients


def _bytes_in_flight(settings: Settings, keys: Keys, metrics: Metrics) -> BytesInFlight:
    bytes_in_flight = BytesInFlight(settings.max_bytes_in_flight, has_several_keys=lambda: keys.are_several)
    metrics.read(requests.BYTES_IN_FLIGHT, lambda: bytes_in_flight.held)
    return bytes_in_flight


def _warn_without_workers(settings: Settings) -> None:
    if not settings.workers:
        structlog.get_logger().warning(
            "no_workers_configured",
            advice="RERANK_WORKERS is empty: scores are lexical word matching, not a neural model",
        )


def _described(lifespan: StatefulLifespan[FastAPI], routers: Iterable[APIRouter]) -> FastAPI:
    """A FastAPI application whose `/docs` works without internet."""
    app = FastAPIOffline(
        title="rerank-gateway",
        version=__version__,
        description="Reranks documents over vLLM workers, in the shapes of vLLM, Jina, Cohere, TEI and Voyage.",
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        # FastAPI would write query strings and the messages of errors into spans and logs of its own.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    for router in routers:
        app.include_router(router)
    app.exception_handler(HTTPException)(_unknown_route)
    app.exception_handler(RerankError)(_refused)
    return app


async def _refused(request: Request, error: RerankError) -> Response:
    """The answer to a request that a route of FastAPI's refuses."""
    return refusal(request, error)


async def _unknown_route(request: Request, exc: HTTPException) -> Response:
    """The answer to an unknown route or method, in the shape of all other errors."""
    error: RerankError
    headers = exc.headers or {}
    is_known = paths.scoring(request.scope["path"]) is not None
    if is_known or exc.status_code == WrongMethod.status:
        error = WrongMethod(f"{request.method} is not served here: see /docs.")
        headers = {"Allow": "POST"} if is_known else headers
    else:
        # As it was sent: percent-encoded, it can't break a line or a terminal.
        path = request.scope["raw_path"].decode("latin-1")
        error = UnknownRoute(
            f"Nothing is at {path[:40]}: POST to a path ending in {', '.join(paths.ENDINGS)}. "
            f"It may begin with models/NAME or {', '.join(PREFIXES)}."
        )
    response = refusal(request, error)
    response.headers.update(headers)
    return response
