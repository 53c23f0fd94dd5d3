"""Voyage's shape."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from app.api.dialects import base, schemas
from app.types import Pairs, RerankRequest, Scored


class VoyageBody(base.Wire):
    """A rerank request as Voyage's clients write it."""

    query: str
    documents: base.Documents
    top_k: int | None = Field(default=None, ge=0, description="Results wanted; 0, null or absent means all.")
    truncation: bool | None = Field(default=None, description="false makes texts too long for the model an error.")
    return_documents: bool | None = None


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
    example: ClassVar[Mapping[str, Any]] = {**base.Dialect.example, "top_k": 2}

    def is_told_by(self, body: Mapping[str, Any]) -> bool:
        return "truncation" in body or ("top_k" in body and not (body["top_k"] is None and "top_n" in body))

    def parse(self, body: Mapping[str, Any], route: str) -> RerankRequest:
        wire = VoyageBody.read(body)
        return RerankRequest(
            pairs=Pairs([wire.query], wire.documents),
            model=wire.model,
            top_n=wire.top_k or None,
            echo=wire.documents if wire.return_documents else None,
            fields=wire.scoring_fields(),
            long_documents=base.long_documents(is_cut=wire.truncation),
            timeout_ms=wire.timeout_ms,
        )

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        return {
            "object": "list",
            "data": base.rows(request, scored, score="relevance_score", document="document"),
            "model": scored.model,
            "usage": {"total_tokens": scored.tokens},
        }
