"""The shape of Hugging Face's text-embeddings-inference."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from app.api.dialects import base, schemas
from app.types import RerankRequest, Scored


class TeiBody(base.Wire):
    """A rerank request as TEI's clients write it. TEI itself knows no `top_n`; LiteLLM sends one."""

    query: str
    texts: base.Strings = Field(min_length=1)
    top_n: base.Wanted = None
    truncate: bool | None = Field(default=None, description="false makes texts too long for the model an error.")
    truncation_direction: Literal["Left", "Right", "left", "right"] | None = None
    raw_scores: bool | None = Field(default=None, description="true returns raw logits.")
    return_text: bool | None = None

    def request(self) -> RerankRequest:
        fields = self.scoring_fields()
        if self.truncation_direction:
            fields["truncation_side"] = self.truncation_direction.lower()
        if self.raw_scores:
            fields["use_activation"] = False
        echo = self.texts if self.return_text else None
        return self.request_for(
            [self.query], self.texts, top_n=self.top_n, echo=echo, is_cut=self.truncate, fields=fields
        )


class Tei(base.PlainErrors):
    """A bare list of `{index, score}`, best first."""

    name = "tei"
    sign = "`texts`"
    request = "`query`, `texts`, `top_n`, `truncate`, `truncation_direction`, `raw_scores`, `return_text`"
    answer = "a bare list of `index`, `score`, `text`"
    texts = ("texts",)
    body = TeiBody
    shown = list[schemas.Row]
    example: ClassVar[Mapping[str, Any]] = {"query": base.QUERY, "texts": base.DOCUMENTS, "return_text": True}

    def is_told_by(self, body: Mapping[str, Any]) -> bool:
        return "texts" in body

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        return base.rows(request, scored, score="score", document="text")
