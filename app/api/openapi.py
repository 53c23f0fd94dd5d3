"""The OpenAPI description of the routes that score."""

from functools import reduce
from operator import or_
from typing import Any, get_args

from app.api import dialects
from app.api.dialects.base import Dialect, Wire
from app.api.dialects.schemas import ErrorAnswer, PlainErrorAnswer
from app.types import LongDocuments

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
# Query parameters with their descriptions and schemas.
_ALWAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "model": ("Default for the body's `model`.", {"type": "string"}),
    "long_documents": (
        "Default for the body's `long_documents`.",
        {"type": "string", "enum": list(get_args(LongDocuments))},
    ),
    "return_passages": ("Default for the body's `return_passages`.", {"type": "boolean"}),
}
_SHAPE: dict[str, tuple[str, dict[str, Any]]] = {
    "dialect": ("Told from the body if absent.", {"type": "string", "enum": list(dialects.NAMES)}),
    "return_documents": ("Default for the body's `return_documents`.", {"type": "boolean"}),
}


def describe(route: str) -> dict[str, Any]:
    """Keyword arguments for `add_api_route` that describe a route that scores."""
    shown = dialects.shown_on(route)
    schemas = [_schema(body) for body in dict.fromkeys(dialect.body for dialect in shown)]
    answers = dict.fromkeys(dialect.shown for dialect in shown)
    content = {
        "schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas},
        "examples": {dialect.name: {"value": dialect.example} for dialect in shown},
    }
    parameters = _ALWAYS if len(shown) == 1 else _ALWAYS | _SHAPE
    return {
        "summary": _summary(shown),
        "tags": ["rerank"],
        "response_model": reduce(or_, answers),
        "responses": {
            status: {"model": ErrorAnswer | PlainErrorAnswer, "description": text} for status, text in _ERRORS.items()
        },
        "openapi_extra": {
            "requestBody": {"required": True, "content": {"application/json": content}},
            "parameters": [_parameter(name, *told) for name, told in parameters.items()],
        },
    }


def _summary(shown: tuple[Dialect, ...]) -> str:
    if shown[0].name == "score":
        return "Score pairs, in the order they are sent"
    return f"Rerank documents, as {', '.join(dialect.name for dialect in shown)}"


def _schema(body: type[Wire]) -> dict[str, Any]:
    """The schema of a body, with what it refers to in its place: references would lead nowhere in OpenAPI."""
    schema = body.model_json_schema()
    parts = schema.pop("$defs", {})

    def inlined(part: Any) -> Any:
        if isinstance(part, list):
            return [inlined(one) for one in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return inlined(parts[part["$ref"].rpartition("/")[2]])
        return {name: inlined(one) for name, one in part.items()}

    whole: dict[str, Any] = inlined(schema)
    return whole


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
