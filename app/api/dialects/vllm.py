"""vLLM's and Jina's shape: the one most clients speak, Milvus among them."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from app.api.dialects import base
from app.types import RerankRequest


class VllmBody(base.RankBody):
    """A rerank request as vLLM and Jina write it."""

    top_n: base.Wanted = None
    return_documents: bool | None = Field(default=None, description="Whether results carry their documents.")

    def request(self) -> RerankRequest:
        echo = base.echo(self.documents, wanted=self.return_documents)
        return self.request_for([self.query], self.documents, top_n=self.top_n, echo=echo)


class Vllm(base.Dialect):
    """`results` with `relevance_score`, best first."""

    name = "vllm"
    prefixes = ("jina",)
    routes = ("/rerank", "/v1/rerank")
    request = '`query`, `documents` (strings, `{"text"}` or [images](#images)), `top_n`, `return_documents`'
    answer = "`id`, `model`, `usage`, Cohere's `meta`, and `results` of `index`, `relevance_score`, `document`"
    body = VllmBody
    example = base.example(top_n=2, return_documents=True)

    def parse(self, body: Mapping[str, Any], route: str) -> RerankRequest:
        if body.get("return_documents") is None:
            # Clients of `/v1/rerank` expect vLLM's and Jina's echo; Milvus, on `/rerank`, decodes none (681 kB per
            # 1000 documents).
            body = {**body, "return_documents": route.startswith("/v1/")}
        return super().parse(body, route)
