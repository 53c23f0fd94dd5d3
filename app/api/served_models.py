"""The routes that tell which models there are; with a key, where keys are set."""

import asyncio
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from app import __version__
from app.api.auth import Keys
from app.api.paths import INFO, MODELS
from app.api.responses import answer
from app.errors import NoWorker
from app.policy.score_scale import scaling_of
from app.settings import Settings
from app.types import Fingerprint, ScoreScale
from app.workers.profiles import Profiles
from app.workers.registry import Registry

# A fixed date: clients want the field, and a worker's own is merely the time of the call.
_CREATED = 1700000000
_REFUSED: dict[int | str, dict[str, Any]] = {401: {"description": "No API key, or an unknown one"}}
_UNKNOWN: dict[int | str, dict[str, Any]] = {
    400: {"description": "There are several models, and none is named"},
    404: {"description": "Unknown model"},
    503: {"description": "It isn't known yet which models there are"},
}


def models_router(registry: Registry, profiles: Profiles, keys: Keys, settings: Settings) -> APIRouter:
    """The list of models, and each of them as OpenAI's and TEI's clients ask for it."""

    async def check_key(request: Request) -> None:
        keys.name_of(request.headers.get("authorization"))

    def entry(name: str, fingerprint: Fingerprint) -> dict[str, Any]:
        of_model, own = profiles.of(fingerprint).score_scale, settings.for_model(fingerprint.model)
        return _model(name, fingerprint, scaling_of(of_model, own.normalize, {}).scale)

    router = APIRouter(tags=["service"], dependencies=[Depends(check_key)])

    @router.get(MODELS, summary="The models that workers serve, aliases included", responses=_REFUSED)
    async def models() -> Response:
        known = registry.models()
        return answer({"object": "list", "data": [entry(name, known[name]) for name in sorted(known)]})

    @router.get(f"{MODELS}/{{name:path}}", summary="One model, by any of its names", responses=_REFUSED | _UNKNOWN)
    async def model(name: str) -> Response:
        return answer(entry(name, await _fingerprint(name, registry)))

    @router.get(INFO, summary="A model, as TEI tells of its own", responses=_REFUSED | _UNKNOWN)
    async def info(request: Request, model: str = "") -> Response:
        name = request.path_params.get("model") or model
        fingerprint = await _fingerprint(name, registry)
        return answer(_info(name or fingerprint.model, fingerprint, settings))

    return router


async def _fingerprint(name: str, registry: Registry) -> Fingerprint:
    """The fingerprint of the model with this name, or of the only or default one.

    Raises:
        RerankError: as `Registry.resolve`, which isn't waited for here.
    """
    own_name = await registry.resolve(name, until=asyncio.get_running_loop().time())
    fingerprint = registry.models().get(own_name)
    if fingerprint is None:
        raise NoWorker(f"No worker serves {own_name[:100]} now: {registry.problems()}.", retry_after_s=1.0)
    return fingerprint


def _model(name: str, fingerprint: Fingerprint, score_scale: ScoreScale) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": _CREATED,
        "owned_by": "rerank-gateway",
        "root": fingerprint.model,
        "max_model_len": fingerprint.max_model_len,
        # What Xinference's client, and with it Dify's, looks for.
        "model_type": "rerank",
        "score_scale": score_scale,
    }


def _info(name: str, fingerprint: Fingerprint, settings: Settings) -> dict[str, Any]:
    """What TEI tells of its model, as far as it means something here."""
    return {
        "model_id": name,
        "model_type": {"reranker": {}},
        "max_input_length": fingerprint.max_model_len,
        "max_client_batch_size": settings.max_documents,
        "auto_truncate": (settings.for_model(fingerprint.model).long_documents or settings.long_documents) != "error",
        "version": __version__,
    }
