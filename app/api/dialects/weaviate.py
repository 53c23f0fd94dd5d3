"""The shape of Weaviate's module reranker-transformers."""

from collections.abc import Mapping
from typing import Any

from app.api.dialects import base, schemas
from app.types import RerankRequest, Scored, text_of


class WeaviateBody(base.RankBody):
    """A rerank request as Weaviate writes it. `property`, which it always sends, says nothing that is needed."""

    def request(self) -> RerankRequest:
        return self.request_for([self.query], self.documents)


class DocumentScore(schemas.Shown):
    """One document and its score."""

    document: str
    score: float


class WeaviateAnswer(schemas.Shown):
    """The scores of Weaviate's documents, in the order of the request."""

    query: str
    scores: list[DocumentScore]


class Weaviate(base.PlainErrors):
    """`scores` in the order of the request: Weaviate takes them by position. It reads an error that is a text."""

    name = "weaviate"
    sign = "`property`"
    request = "`query`, `documents`, `property`"
    answer = "`query`, and `scores` of `document`, `score`, in the order of the request"
    body = WeaviateBody
    shown = WeaviateAnswer
    example = base.example(property="")

    def is_told_by(self, body: Mapping[str, Any]) -> bool:
        return "property" in body

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        pairs = zip(request.pairs.documents, scored.scores, strict=True)
        return {
            "query": text_of(request.pairs.queries[0]),
            "scores": [{"document": text_of(document), "score": score} for document, score in pairs],
        }
