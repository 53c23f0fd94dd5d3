"""The OpenAPI description of the routes that score."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from app.api.dialects.base import Wire
from app.api.dialects.cohere1 import Cohere1Body
from app.api.dialects.cohere2 import Cohere2Body
from app.api.dialects.score import ScoreBody
from app.api.dialects.tei import TeiBody
from app.api.dialects.vllm import VllmBody
from app.api.dialects.voyage import VoyageBody

QUERY = "What is the capital of France?"
DOCUMENTS = [
    "The capital of Brazil is Brasilia.",
    "The capital of France is Paris.",
    "Horses and cows are both animals.",
]


class _Shown(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Usage(_Shown):
    """Tokens that workers processed for the request."""

    total_tokens: int
    prompt_tokens: int | None = None


class Result(_Shown):
    """One document of a ranking; `document` is there only when documents are returned."""

    index: int
    relevance_score: float
    document: dict[str, Any] | str | None = None


class RerankResponse(_Shown):
    """The ranking of vLLM, Jina and Cohere, best first."""

    id: str
    model: str
    usage: Usage
    results: list[Result]
    meta: dict[str, Any]


class Row(_Shown):
    """One document of TEI's and SGLang's bare list, best first."""

    index: int
    score: float
    text: str | None = None
    document: dict[str, Any] | None = None


class VoyageResponse(_Shown):
    """The ranking of Voyage, best first."""

    object: str
    data: list[Result]
    model: str
    usage: Usage


class ScoreRow(_Shown):
    """The score of one pair."""

    index: int
    object: str
    score: float


class ScoreResponse(_Shown):
    """The scores of vLLM's `/score`, in the order of the request."""

    id: str
    object: str
    created: int
    model: str
    data: list[ScoreRow]
    usage: Usage


class Error(_Shown):
    """An error: the problem, the field at fault and the fix."""

    message: str
    type: str
    param: str | None
    code: int


class ErrorResponse(_Shown):
    """An error answer; `/v2` adds `message` and `/v1` adds `detail`, for clients that read these."""

    error: Error
    message: str | None = None
    detail: str | None = None


class TeiErrorResponse(_Shown):
    """An error answer of TEI."""

    error: str
    error_type: str


_ERRORS = {
    400: "The request is wrong; `param` says where",
    401: "No API key, or an unknown one",
    404: "Unknown model",
    408: "The body didn't arrive in time",
    413: "The body is too large",
    415: "The body isn't plain JSON",
    429: "Overloaded; see Retry-After",
    502: "Workers answered badly or are misconfigured",
    503: "No usable worker; see Retry-After",
    504: "Time ran out while a worker worked",
}
_EXAMPLES: dict[str, dict[str, Any]] = {
    "milvus": {"summary": "Milvus, plain curl", "value": {"query": QUERY, "documents": DOCUMENTS}},
    "jina": {
        "summary": "vLLM, Jina, Cohere",
        "value": {"query": QUERY, "documents": DOCUMENTS, "top_n": 2, "return_documents": True},
    },
    "cohere1": {
        "summary": "Cohere v1 with objects",
        "value": {
            "query": QUERY,
            "documents": [{"title": "Paris", "text": DOCUMENTS[1]}],
            "rank_fields": ["title", "text"],
        },
    },
    "tei": {"summary": "TEI", "value": {"query": QUERY, "texts": DOCUMENTS, "return_text": True}},
    "voyage": {"summary": "Voyage", "value": {"query": QUERY, "documents": DOCUMENTS, "top_k": 2}},
}
# Query parameters with their descriptions and schemas.
_MODEL: dict[str, tuple[str, dict[str, Any]]] = {"model": ("Default for the body's `model`.", {"type": "string"})}
_SHAPE: dict[str, tuple[str, dict[str, Any]]] = {
    "dialect": (
        "Told from the body if absent.",
        {"type": "string", "enum": ["vllm", "cohere1", "cohere2", "tei", "voyage", "sglang"]},
    ),
    "return_documents": ("Default for the body's `return_documents`.", {"type": "boolean"}),
}
_RERANK_BODIES: tuple[type[Wire], ...] = (VllmBody, Cohere1Body, TeiBody, VoyageBody)


def describe(path: str) -> dict[str, Any]:
    """Keyword arguments for `add_api_route` that describe the route at `path`."""
    if path.endswith("/score"):
        example = {"pairs": {"summary": "One query, N texts", "value": {"text_1": QUERY, "text_2": DOCUMENTS}}}
        return _route("Score pairs, in the order they are sent", (ScoreBody,), example, ScoreResponse)
    if path.startswith("/v2/"):
        examples = {"cohere2": _EXAMPLES["milvus"] | {"summary": "Cohere v2, Milvus 2.6.0"}}
        return _route("Rerank documents (Cohere v2)", (Cohere2Body,), examples, RerankResponse)
    answer = RerankResponse | VoyageResponse | list[Row]
    return _route("Rerank documents", _RERANK_BODIES, _EXAMPLES, answer, _MODEL | _SHAPE)


def _route(
    summary: str,
    bodies: tuple[type[Wire], ...],
    examples: dict[str, Any],
    answer: Any,
    parameters: dict[str, tuple[str, dict[str, Any]]] = _MODEL,
) -> dict[str, Any]:
    schemas = [body.model_json_schema() for body in bodies]
    content = {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}, "examples": examples}
    return {
        "summary": summary,
        "tags": ["rerank"],
        "response_model": answer,
        "responses": {
            status: {"model": ErrorResponse | TeiErrorResponse, "description": text} for status, text in _ERRORS.items()
        },
        "openapi_extra": {
            "requestBody": {"required": True, "content": {"application/json": content}},
            "parameters": [_parameter(name, *told) for name, told in parameters.items()],
        },
    }


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
