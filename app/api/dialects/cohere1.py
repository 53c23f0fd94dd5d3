"""Cohere's v1 shape: documents may be objects whose fields are ranked together."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from app.api.dialects import base, rank_fields
from app.types import RerankRequest


class Cohere1Body(base.Wire):
    """A rerank request as Cohere's v1 clients write it."""

    query: str
    documents: rank_fields.TextsOrObjects
    top_n: base.Wanted = None
    rank_fields: base.Strings | None = Field(
        default=None, description="Fields of document objects to rank by, in order; each counts once."
    )
    return_documents: bool | None = None
    max_chunks_per_doc: int | None = Field(
        default=None, ge=1, description="Passages of a document at most, where long documents are cut into passages."
    )

    def request(self) -> RerankRequest:
        texts = rank_fields.joined(self.documents, self.rank_fields, "documents")
        sent = [{"text": document} if isinstance(document, str) else document for document in self.documents]
        echo = sent if self.return_documents else None
        return self.request_for([self.query], texts, top_n=self.top_n, echo=echo, max_passages=self.max_chunks_per_doc)


class Cohere1(base.Dialect):
    """`results` with `relevance_score`; a returned document is the object that was sent."""

    name = "cohere1"
    prefixes = ("cohere",)
    sign = "`rank_fields` or `max_chunks_per_doc`, or a document with keys other than `text`, `image` and `content`"
    request = (
        "as `vllm`; documents may be objects whose `rank_fields` are joined by line breaks, each once; "
        "`return_documents` is false unless sent"
    )
    answer = "as `vllm`; a returned document is the object that was sent"
    body = Cohere1Body
    example = base.example(documents=[{"title": "Paris", "text": base.DOCUMENTS[1]}], rank_fields=["title", "text"])

    def is_told_by(self, body: Mapping[str, Any]) -> bool:
        is_signed = body.get("rank_fields") is not None or body.get("max_chunks_per_doc") is not None
        return is_signed or _has_objects(body.get("documents"))


def _has_objects(documents: object) -> bool:
    """True if a document is an object with more than a text or images, such as Cohere's fields."""
    if not isinstance(documents, list) or dict not in map(type, documents):
        return False
    return any(type(item) is dict and not item.keys() <= {"text", "image", "content"} for item in documents)
