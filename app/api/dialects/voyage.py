"""Voyage's shape."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from app.api.dialects import base, schemas
from app.types import RerankRequest, Scored


class VoyageBody(base.RankBody):
    """A rerank request as Voyage's clients write it."""

    top_k: base.Wanted = None
    truncation: bool | None = Field(default=None, description="false makes texts too long for the model an error.")
    return_documents: bool | None = None

    def request(self) -> RerankRequest:
        echo = base.plain_echo(self.documents, wanted=self.return_documents)
        return self.request_for([self.query], self.documents, top_n=self.top_k, echo=echo, is_cut=self.truncation)


class VoyageAnswer(schemas.Shown):
    """The ranking of Voyage, best first."""

    object: str
    data: list[schemas.Result]
    model: str
    usage: schemas.TotalTokens


class Voyage(base.Dialect):
    """`data` with `relevance_score`, best first; a returned document is a plain string."""

    name = "voyage"
    sign = "`truncation`, or `top_k` (unless it is null beside a `top_n`)"
    request = "`query`, `documents`, `top_k`, `truncation`, `return_documents`"
    answer = "`data` of `index`, `relevance_score`, `document` (a plain string)"
    body = VoyageBody
    shown = VoyageAnswer
    example = base.example(top_k=2)

    def is_told_by(self, body: Mapping[str, Any]) -> bool:
        return "truncation" in body or ("top_k" in body and not (body["top_k"] is None and "top_n" in body))

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        return {
            "object": "list",
            "data": base.rows(request, scored, score="relevance_score", document="document"),
            "model": scored.model,
            "usage": {"total_tokens": scored.tokens},
        }
