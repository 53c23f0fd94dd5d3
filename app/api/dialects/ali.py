"""The shape of Alibaba's DashScope, which Milvus's provider `ali` reads."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, PlainValidator, WithJsonSchema

from app.api.dialects import base, schemas
from app.api.dialects.content import side_of
from app.types import RerankRequest, Scored, Side


class AliInput(BaseModel):
    """The texts of a request."""

    query: Annotated[Side, PlainValidator(partial(side_of, place="input.query")), WithJsonSchema(schemas.SIDE_SCHEMA)]
    documents: base.Documents


class AliParameters(BaseModel):
    """The wishes of a request."""

    top_n: base.Wanted = None
    return_documents: bool | None = None


class AliBody(base.Wire):
    """A rerank request as DashScope's clients write it."""

    input: AliInput
    parameters: AliParameters | None = None

    def request(self) -> RerankRequest:
        query, documents, wishes = self.input.query, self.input.documents, self.parameters or AliParameters()
        echo = base.echo(documents, wanted=wishes.return_documents)
        return self.request_for([query], documents, top_n=wishes.top_n, echo=echo)


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
    example: ClassVar[Mapping[str, Any]] = {"input": base.example()}

    def is_told_by(self, body: Mapping[str, Any]) -> bool:
        return isinstance(body.get("input"), dict)

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        return {
            "output": {"results": base.rows(request, scored, score="relevance_score", document="document")},
            "usage": {"total_tokens": scored.tokens},
            "request_id": request_id,
        }
