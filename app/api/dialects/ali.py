"""The shape of Alibaba's DashScope, which Milvus's provider `ali` reads."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from app.api.dialects import base, schemas
from app.types import Pairs, RerankRequest, Scored


class AliInput(BaseModel):
    """The texts of a request."""

    query: str
    documents: base.Documents


class AliParameters(BaseModel):
    """The wishes of a request."""

    top_n: int | None = Field(default=None, ge=0, description="Results wanted; 0, null or absent means all.")
    return_documents: bool | None = None


class AliBody(base.Wire):
    """A rerank request as DashScope's clients write it."""

    input: AliInput
    parameters: AliParameters | None = None


class AliResults(schemas.Shown):
    """The ranking, best first."""

    results: list[schemas.Result]


class AliAnswer(schemas.Shown):
    """The answer of DashScope."""

    output: AliResults
    usage: schemas.TotalTokens
    request_id: str


class Ali(base.Dialect):
    """`output.results` with `relevance_score`, best first."""

    name = "ali"
    sign = "an object `input`"
    request = "`input` of `query`, `documents`; `parameters` of `top_n`, `return_documents`"
    answer = "`output` of `results` as in `vllm`, `usage`, `request_id`"
    texts = ("input.documents",)
    body = AliBody
    shown = AliAnswer
    example: ClassVar[Mapping[str, Any]] = {"input": dict(base.Dialect.example)}

    def is_told_by(self, body: Mapping[str, Any]) -> bool:
        return isinstance(body.get("input"), dict)

    def parse(self, body: Mapping[str, Any], route: str) -> RerankRequest:
        wire = AliBody.read(body)
        wishes = wire.parameters or AliParameters()
        return RerankRequest(
            pairs=Pairs([wire.input.query], wire.input.documents),
            model=wire.model,
            top_n=wishes.top_n or None,
            echo=base.echo(wire.input.documents, wanted=bool(wishes.return_documents)),
            fields=wire.scoring_fields(),
            timeout_ms=wire.timeout_ms,
        )

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        return {
            "output": {"results": base.rows(request, scored, score="relevance_score", document="document")},
            "usage": {"total_tokens": scored.tokens},
            "request_id": request_id,
        }
