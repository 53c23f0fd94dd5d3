"""Cohere's v2 shape, which never returns documents. Milvus 2.6.0 reads it too."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from app.api.dialects import base, schemas
from app.types import Pairs, RerankRequest, Scored


class Cohere2Body(base.Wire):
    """A rerank request as Cohere's v2 clients write it."""

    query: str
    documents: base.Documents
    top_n: int | None = Field(default=None, ge=0)


class Cohere2(base.Dialect):
    """`results` with `relevance_score`, best first."""

    name = "cohere2"
    routes = ("/v2/rerank",)
    request = "`query`, `documents`, `top_n`"
    answer = "as `cohere1`, never with documents"
    body = Cohere2Body
    shown = schemas.RerankAnswer

    def parse(self, body: Mapping[str, Any], route: str) -> RerankRequest:
        wire = Cohere2Body.read(body)
        return RerankRequest(
            pairs=Pairs([wire.query], wire.documents),
            model=wire.model,
            top_n=wire.top_n or None,
            fields=wire.scoring_fields(),
            timeout_ms=wire.timeout_ms,
        )

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        return base.render_results(request, scored, request_id, api_version="2")
