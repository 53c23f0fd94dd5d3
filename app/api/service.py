"""The routes about the gateway itself: health, version, metrics."""

from collections.abc import Callable

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from app import __version__
from app.api.responses import answer
from app.assembly import Assembly
from app.errors import NoWorker
from app.workers.registry import Registry


def service_router(assembly: Assembly, *, has_fallback: bool, is_draining: Callable[[], bool]) -> APIRouter:
    """Liveness, readiness, version and metrics."""
    router, registry, metrics = APIRouter(tags=["service"]), assembly.registry, assembly.metrics

    @router.get("/livez", summary="The process answers")
    async def livez() -> Response:
        return answer({"status": "ok"})

    async def readyz() -> Response:
        problem = (
            "This replica is shutting down." if is_draining() else _unready_reason(registry, has_fallback=has_fallback)
        )
        if problem:
            raise NoWorker(problem[:500], retry_after_s=1.0)
        return answer({"status": "ok"})

    for path in ("/readyz", "/health"):
        router.add_api_route(
            path,
            readyz,
            methods=["GET"],
            summary="Workers were usable since the start, or needn't be, and this replica isn't shutting down",
            responses={503: {"description": "Not ready"}},
        )

    @router.get("/version", summary="The gateway's version")
    async def version() -> Response:
        return answer({"version": __version__})

    @router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
    async def prometheus() -> Response:
        return Response(await metrics.render(), media_type=metrics.content_type)

    return router


def _unready_reason(registry: Registry, *, has_fallback: bool) -> str | None:
    """The reason why this replica isn't ready, in words; None when it is."""
    # Workers that are scaled to zero are started for whom a replica that isn't ready would never hear.
    if registry.was_ever_usable or registry.may_be_empty:
        return None
    if not has_fallback:
        return f"No worker has been usable yet: {registry.problems()}."
    # A replica that can't discover workers would give everybody degraded scores.
    is_told = any(source.has_answered for source in registry.sources)
    return None if is_told else f"It isn't known yet where workers are: {registry.problems()}."
