"""Mixedbread's shape."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from app.api.dialects import base, rank_fields, schemas
from app.types import RerankRequest, Scored


class MixedbreadBody(base.Wire):
    """A reranking request as Mixedbread's clients write it."""

    query: str
    input: rank_fields.TextsOrObjects
    rank_fields: base.Strings | None = Field(
        default=None, description="Fields of objects in `input` to rank by, in order; each counts once."
    )
    top_k: base.Wanted = None
    return_input: bool | None = None

    def request(self) -> RerankRequest:
        texts = rank_fields.joined(self.input, self.rank_fields, "input")
        return self.request_for([self.query], texts, top_n=self.top_k, echo=self.input if self.return_input else None)


class Ranked(schemas.Shown):
    """One document of a ranking; `input` is there only when it is returned."""

    index: int
    score: float
    input: str | dict[str, Any] | None = None
    passage: schemas.PassageRange | None = None


class MixedbreadAnswer(schemas.Shown):
    """The ranking of Mixedbread, best first."""

    object: str
    model: str
    data: list[Ranked]
    usage: schemas.Usage
    top_k: int
    return_input: bool


class Mixedbread(base.Dialect):
    """`data` with `score`, best first; a returned `input` is what was sent."""

    name = "mixedbread"
    routes = ("/v1/reranking",)
    sign = "a list `input`"
    request = "`query`, `input` (strings, or objects with `rank_fields`), `top_k`, `return_input`"
    answer = "`data` of `index`, `score`, `input`"
    texts = ("input",)
    body = MixedbreadBody
    shown = MixedbreadAnswer
    example: ClassVar[Mapping[str, Any]] = {"query": base.QUERY, "input": base.DOCUMENTS, "top_k": 2}

    def is_told_by(self, body: Mapping[str, Any]) -> bool:
        return isinstance(body.get("input"), list)

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        data = base.rows(request, scored, score="score", document="input")
        return {
            "object": "list",
            "model": scored.model,
            "data": data,
            "usage": schemas.usage(scored),
            "top_k": len(data),
            "return_input": request.echo is not None,
        }
