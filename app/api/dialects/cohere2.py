"""Cohere's v2 shape, which never returns documents. Milvus 2.6.0 reads it too."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from app.api.dialects import base
from app.errors import RerankError
from app.types import Pairs, RerankRequest, Scored


class Cohere2Body(base.Wire):
    """A rerank request as Cohere's v2 clients write it."""

    query: str
    documents: base.Documents
    top_n: int | None = Field(default=None, ge=0)


class Cohere2:
    """`results` with `relevance_score`, best first."""

    name: ClassVar[str] = "cohere2"

    def parse(self, body: Mapping[str, Any]) -> RerankRequest:
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

    def render_error(self, error: RerankError, path: str) -> object:
        return base.render_openai_error(error, path)
