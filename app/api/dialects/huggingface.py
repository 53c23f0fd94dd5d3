"""The shape of Hugging Face's pipeline for sentence similarity, which Milvus's provider `huggingface` reads."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from app.api.dialects import base
from app.types import RerankRequest, Scored


class HuggingfaceInputs(BaseModel):
    """The texts of a request."""

    source_sentence: str
    sentences: base.Strings = Field(min_length=1)


class HuggingfaceBody(base.Wire):
    """A request of sentence similarity."""

    inputs: HuggingfaceInputs

    def request(self) -> RerankRequest:
        return self.request_for([self.inputs.source_sentence], self.inputs.sentences)


class Huggingface(base.PlainErrors):
    """A bare list of scores, in the order of the request."""

    name = "huggingface"
    routes = ("/pipeline/sentence-similarity",)
    sign = "an object `inputs`"
    request = "`inputs` of `source_sentence`, `sentences`; the model is in the path"
    answer = "a bare list of scores, in the order of the request"
    texts = ("inputs.sentences",)
    body = HuggingfaceBody
    shown = list[float]
    example: ClassVar[Mapping[str, Any]] = {"inputs": {"source_sentence": base.QUERY, "sentences": base.DOCUMENTS}}

    def is_told_by(self, body: Mapping[str, Any]) -> bool:
        return isinstance(body.get("inputs"), dict)

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        return list(scored.scores)
