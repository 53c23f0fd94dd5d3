"""vLLM's and Jina's shape: the one most clients speak, Milvus among them."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from app.api.dialects import base
from app.errors import RerankError
from app.types import Pairs, RerankRequest, Scored


class VllmBody(base.Wire):
    """A rerank request as vLLM and Jina write it."""

    query: str
    documents: base.Documents
    top_n: int | None = Field(default=None, ge=0, description="Results wanted; 0, null or absent means all.")
    return_documents: bool | None = Field(default=None, description="Whether results carry their documents.")


class Vllm:
    """`results` with `relevance_score`, best first.

    Args:
        echoes: Return documents when the client doesn't say.
    """

    name: ClassVar[str] = "vllm"

    def __init__(self, *, echoes: bool) -> None:
        self._echoes = echoes

    def parse(self, body: Mapping[str, Any]) -> RerankRequest:
        wire = VllmBody.read(body)
        wanted = self._echoes if wire.return_documents is None else wire.return_documents
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

    def render_error(self, error: RerankError, path: str) -> object:
        return base.render_openai_error(error, path)
