"""The parts that requests and answers have in common, as OpenAPI describes them."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from app.types import Scored


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_STRING = {"type": "string"}
_PART: dict[str, Any] = {
    "anyOf": [
        _object(["type", "text"], type={"const": "text"}, text=_STRING),
        _object(["type", "image_url"], type={"const": "image_url"}, image_url=_object(["url"], url=_STRING)),
    ]
}
_CONTENT: dict[str, Any] = {"type": "array", "minItems": 1, "items": _PART}
SIDE_SCHEMA: dict[str, Any] = {
    "anyOf": [_STRING, _object([], text=_STRING, image=_STRING, content=_CONTENT) | {"minProperties": 1}],
    "description": "A string, or an object: its text, its image or both, or its content in vLLM's shape.",
}
DOCUMENTS_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "array", "minItems": 1, "items": SIDE_SCHEMA}, _STRING],
    "title": "Documents",
    "description": "Strings, or objects with a text, an image, or content; a bare string is one document.",
}


class Shown(BaseModel):
    """An answer, or a part of one, that has no fields but these."""

    model_config = ConfigDict(extra="forbid")


class TotalTokens(Shown):
    """Tokens that workers processed for the request."""

    total_tokens: int


class Usage(TotalTokens):
    """Tokens as OpenAI's clients count them; a reranker completes nothing."""

    prompt_tokens: int
    completion_tokens: int


class PassageRange(Shown):
    """A part of a document: from the character `start` up to `end`, counted in Unicode code points."""

    start: int
    end: int


class Result(Shown):
    """One document of a ranking; `document` and `passage` are there only when they are asked for."""

    index: int
    relevance_score: float
    document: dict[str, Any] | str | None = None
    passage: PassageRange | None = None


class RerankAnswer(Shown):
    """The ranking of vLLM, Jina and Cohere, best first."""

    id: str
    model: str
    usage: Usage
    results: list[Result]
    meta: dict[str, Any]


class Row(Shown):
    """One document of a bare list, best first."""

    index: int
    score: float
    text: str | None = None
    document: dict[str, Any] | None = None
    passage: PassageRange | None = None


class Error(Shown):
    """An error: the problem, the field at fault and the fix."""

    message: str
    type: str
    param: str | None
    code: int


class ErrorAnswer(Shown):
    """An error; `message` and `detail` repeat its text where clients of some paths look for it."""

    error: Error
    message: str | None = None
    detail: str | None = None


class PlainErrorAnswer(Shown):
    """An error as TEI, Hugging Face and Weaviate write it."""

    error: str
    error_type: str


def usage(scored: Scored) -> dict[str, int]:
    """`Usage` of an answer."""
    return {"prompt_tokens": scored.tokens, "total_tokens": scored.tokens, "completion_tokens": 0}
