"""The composition root: settings in, ASGI application out."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from random import Random

import structlog
from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from app import __version__, open_files
from app.api.admin import AdminApi
from app.api.answers import refusal
from app.api.door import Door
from app.api.guard import Guard
from app.api.intake import Intake
from app.api.page import page_router
from app.api.rerank import ROUTES, RerankApi
from app.api.service import service_router
from app.auth import Keys
from app.bytes_in_flight import BytesInFlight
from app.clients import CLIENTS, Clients
from app.engine import Engine, Search, assemble
from app.errors import RerankError, UnknownRoute, WrongMethod
from app.fleet.discovery import sources
from app.fleet.reach import LinkFactory, reach
from app.metrics.history import History
from app.server import Drain
from app.settings import Settings
from app.spans import Traces
from app.tls import Certificates


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
) -> Door:
    """The gateway as an ASGI application.

    Args:
        settings: Checked and frozen.
        link_factory: Makes the link to each worker; where tests put workers of their own.
        search: Makes the sources that say where workers are.
        rng: Chance for balancing and jitter.
        drain: Set by the server when it is told to stop.
        keys: Who may call; by default those of the settings.
        admin_keys: Who may operate the gateway; by default that of the settings.
        certificates: Shown to workers; by default those of the settings.
    """
    certificates = certificates or Certificates(settings)
    link_factory = link_factory or partial(reach, tls=certificates.towards_workers)
    engine = assemble(settings, link_factory=link_factory, search=search, rng=rng)
    keys = keys or Keys(settings.keys)
    drain = drain or Drain()
    guard = Guard(admin_keys or Keys(settings.admin_keys), host=settings.host)
    history = _history(engine, guard)
    traces = _traces(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Clients]]:
        if not settings.workers:
            structlog.get_logger().warning(
                "no_workers_configured",
                advice="RERANK_WORKERS is empty: scores are lexical word matching, not a neural model",
            )
        async with aclosing(traces), engine.running(), history.running():
            yield {CLIENTS: clients}

    app = _described(lifespan)
    bytes_in_flight = BytesInFlight(settings.max_bytes_in_flight, has_several_keys=lambda: keys.are_several)
    clients = Clients(
        max_connections=_connections(settings),
        write_timeout_s=settings.write_timeout_s,
        on_shed=engine.metrics.connection_shed,
    )
    engine.metrics.watch_clients(clients, bytes_in_flight)
    intake = Intake(settings, bytes_in_flight)
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
    admin = _admin(engine, history, settings=settings, intake=intake, keys=keys, drain=drain)
    app.include_router(admin.router(guard))
    if settings.ui:
        app.include_router(page_router(guard))
    app.add_exception_handler(HTTPException, _unknown_place)
    posts = dict.fromkeys(ROUTES, rerank.serve)
    return Door(app, is_draining=lambda: drain.has_begun, bytes_in_flight=bytes_in_flight, posts=posts)


def _admin(
    engine: Engine, history: History, *, settings: Settings, intake: Intake, keys: Keys, drain: Drain
) -> AdminApi:
    return AdminApi(
        intake=intake,
        fleet=engine.fleet,
        cache=engine.cache,
        shared=engine.shared,
        metrics=engine.metrics,
        history=history,
        settings=settings,
        keys=keys,
        is_draining=lambda: drain.has_begun,
    )


def _connections(settings: Settings) -> int:
    """How many clients may be connected, as far as there are files for them."""
    allowed = open_files.for_clients(settings.max_connections)
    if settings.max_connections and allowed < settings.max_connections:
        structlog.get_logger().warning(
            "fewer_connections",
            max_connections=allowed,
            advice=f"RERANK_MAX_CONNECTIONS is {settings.max_connections}: raise the limit of open files (ulimit -n)",
        )
    return allowed


def _history(engine: Engine, guard: Guard) -> History:
    return History(
        engine.metrics,
        queued_documents=lambda: engine.schedule.waiting_documents,
        pending_documents=lambda: engine.admission.pending_documents,
        is_wanted=lambda: guard.can_admit,
    )


def _described(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Clients]]]) -> FastAPI:
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
    if isinstance(exc, HTTPException) and exc.status_code == WrongMethod.status:
        error: RerankError = WrongMethod(f"{request.method} is not served here: see /docs.")
    else:
        error = UnknownRoute("There is nothing here: POST to /rerank, /v1/rerank, /v2/rerank or /v1/score; see /docs.")
    response = refusal(request, error)
    response.headers.update(getattr(exc, "headers", None) or {})
    return response
