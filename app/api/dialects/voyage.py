"""Voyage's shape."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from app.api.dialects import base
from app.errors import RerankError
from app.types import Pairs, RerankRequest, Scored


class VoyageBody(base.Wire):
    """A rerank request as Voyage's clients write it."""

    query: str
    documents: base.Documents
    top_k: int | None = Field(default=None, ge=0, description="Results wanted; 0, null or absent means all.")
    truncation: bool | None = Field(default=None, description="false makes texts too long for the model an error.")
    return_documents: bool = False


class Voyage:
    """`data` with `relevance_score`, best first; a returned document is a plain string."""

    name: ClassVar[str] = "voyage"

    def parse(self, body: Mapping[str, Any]) -> RerankRequest:
        wire = VoyageBody.read(body)
        return RerankRequest(
            pairs=Pairs([wire.query], wire.documents),
            model=wire.model,
            top_n=wire.top_k or None,
            echo=wire.documents if wire.return_documents else None,
            fields=wire.scoring_fields(),
            long_documents=None if wire.truncation is None else "truncate" if wire.truncation else "error",
            timeout_ms=wire.timeout_ms,
        )

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        return {
            "object": "list",
            "data": base.rows(request, scored, score="relevance_score", document="document"),
            "model": scored.model,
            "usage": {"total_tokens": scored.tokens},
        }

    def render_error(self, error: RerankError, path: str) -> object:
        return base.render_openai_error(error, path)
