"""Infinity's shape. Its requests look like vLLM's; a returned document is a plain string."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from app.api.dialects import base, schemas
from app.types import Pairs, RerankRequest, Scored


class InfinityBody(base.Wire):
    """A rerank request as Infinity's clients write it."""

    query: str
    documents: base.Documents
    top_n: int | None = Field(default=None, ge=0, description="Results wanted; 0, null or absent means all.")
    return_documents: bool | None = None
    raw_scores: bool | None = Field(default=None, description="true returns raw logits.")


class Infinity(base.Dialect):
    """`results` with `relevance_score`, best first."""

    name = "infinity"
    request = "`query`, `documents`, `top_n`, `return_documents`, `raw_scores`"
    answer = "as `vllm`; a returned `document` is a plain string"
    body = InfinityBody
    shown = schemas.RerankAnswer

    def parse(self, body: Mapping[str, Any], route: str) -> RerankRequest:
        wire = InfinityBody.read(body)
        fields = wire.scoring_fields()
        if wire.raw_scores:
            fields["use_activation"] = False
        return RerankRequest(
            pairs=Pairs([wire.query], wire.documents),
            model=wire.model,
            top_n=wire.top_n or None,
            echo=wire.documents if wire.return_documents else None,
            fields=fields,
            timeout_ms=wire.timeout_ms,
        )

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        return base.render_results(request, scored, request_id, api_version="1")
