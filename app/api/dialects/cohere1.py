"""Cohere's v1 shape: documents may be objects whose fields are ranked together."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from app.api.dialects import base, rank_fields, schemas
from app.types import Pairs, RerankRequest, Scored


class Cohere1Body(base.Wire):
    """A rerank request as Cohere's v1 clients write it. `max_chunks_per_doc` is accepted and ignored."""

    query: str
    documents: rank_fields.TextsOrObjects
    top_n: int | None = Field(default=None, ge=0)
    rank_fields: base.Strings | None = Field(
        default=None, description="Fields of document objects to rank by, in order; each counts once."
    )
    return_documents: bool | None = None


class Cohere1(base.Dialect):
    """`results` with `relevance_score`; a returned document is the object that was sent."""

    name = "cohere1"
    prefixes = ("cohere",)
    sign = "`rank_fields` or `max_chunks_per_doc`, or a document with keys other than `text` and `content`"
    request = (
        "as `vllm`; documents may be objects whose `rank_fields` are joined by line breaks, each once; "
        "`return_documents` is false unless sent"
    )
    answer = "as `vllm`; a returned document is the object that was sent"
    body = Cohere1Body
    shown = schemas.RerankAnswer
    example: ClassVar[Mapping[str, Any]] = {
        "query": base.QUERY,
        "documents": [{"title": "Paris", "text": base.DOCUMENTS[1]}],
        "rank_fields": ["title", "text"],
    }

    def is_told_by(self, body: Mapping[str, Any]) -> bool:
        signs = (body.get("rank_fields"), body.get("max_chunks_per_doc"))
        return signs != (None, None) or _has_objects(body.get("documents"))

    def parse(self, body: Mapping[str, Any], route: str) -> RerankRequest:
        wire = Cohere1Body.read(body)
        texts = rank_fields.joined(wire.documents, wire.rank_fields, "documents")
        sent = [{"text": document} if isinstance(document, str) else document for document in wire.documents]
        return RerankRequest(
            pairs=Pairs([wire.query], texts),
            model=wire.model,
            top_n=wire.top_n or None,
            echo=sent if wire.return_documents else None,
            fields=wire.scoring_fields(),
            timeout_ms=wire.timeout_ms,
        )

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        return base.render_results(request, scored, request_id, api_version="1")


def _has_objects(documents: object) -> bool:
    """True if a document is an object with more than a `text`, such as Cohere's fields; not multimodal `content`."""
    if not isinstance(documents, list) or dict not in map(type, documents):
        return False
    return any(type(item) is dict and not item.keys() <= {"text", "content"} for item in documents)
