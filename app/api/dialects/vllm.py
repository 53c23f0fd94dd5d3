"""vLLM's and Jina's shape: the one most clients speak, Milvus among them."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from app.api.dialects import base, schemas
from app.types import Pairs, RerankRequest, Scored


class VllmBody(base.Wire):
    """A rerank request as vLLM and Jina write it."""

    query: str
    documents: base.Documents
    top_n: int | None = Field(default=None, ge=0, description="Results wanted; 0, null or absent means all.")
    return_documents: bool | None = Field(default=None, description="Whether results carry their documents.")


class Vllm(base.Dialect):
    """`results` with `relevance_score`, best first."""

    name = "vllm"
    prefixes = ("jina",)
    routes = ("/rerank", "/v1/rerank")
    request = '`query`, `documents` (strings or `{"text"}`), `top_n`, `return_documents`'
    answer = "`id`, `model`, `usage`, Cohere's `meta`, and `results` of `index`, `relevance_score`, `document`"
    body = VllmBody
    shown = schemas.RerankAnswer
    example: ClassVar[Mapping[str, Any]] = {**base.Dialect.example, "top_n": 2, "return_documents": True}

    def parse(self, body: Mapping[str, Any], route: str) -> RerankRequest:
        wire = VllmBody.read(body)
        wanted = wire.return_documents
        if wanted is None:
            # Clients of `/v1/rerank` expect vLLM's and Jina's echo; Milvus, on `/rerank`, decodes none (681 kB per
            # 1000 documents).
            wanted = route.startswith("/v1/")
        return RerankRequest(
            pairs=Pairs([wire.query], wire.documents),
            model=wire.model,
            top_n=wire.top_n or None,
            echo=base.echo(wire.documents, wanted=wanted),
            fields=wire.scoring_fields(),
            timeout_ms=wire.timeout_ms,
        )

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        return base.render_results(request, scored, request_id, api_version="1")
