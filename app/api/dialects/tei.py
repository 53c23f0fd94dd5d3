"""The shape of Hugging Face's text-embeddings-inference."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Literal

from pydantic import Field

from app.api.dialects import base
from app.errors import Overloaded, RerankError
from app.types import Pairs, RerankRequest, Scored


class TeiBody(base.Wire):
    """A rerank request as TEI's clients write it."""

    query: str
    texts: base.Strings = Field(min_length=1)
    truncate: bool | None = Field(default=None, description="false makes texts too long for the model an error.")
    truncation_direction: Literal["Left", "Right", "left", "right"] | None = None
    raw_scores: bool = Field(default=False, description="true returns raw logits.")
    return_text: bool = False


class Tei:
    """A bare list of `{index, score}`, best first."""

    name: ClassVar[str] = "tei"

    def parse(self, body: Mapping[str, Any]) -> RerankRequest:
        wire = TeiBody.read(body)
        fields = wire.scoring_fields()
        if wire.truncation_direction:
            fields["truncation_side"] = wire.truncation_direction.lower()
        if wire.raw_scores:
            fields["use_activation"] = False
        return RerankRequest(
            pairs=Pairs([wire.query], wire.texts),
            model=wire.model,
            echo=wire.texts if wire.return_text else None,
            fields=fields,
            long_documents=None if wire.truncate is None else "truncate" if wire.truncate else "error",
            timeout_ms=wire.timeout_ms,
        )

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        return base.rows(request, scored, score="score", document="text")

    def render_error(self, error: RerankError, path: str) -> object:
        is_clients = error.status < HTTPStatus.INTERNAL_SERVER_ERROR
        kind = "Overloaded" if isinstance(error, Overloaded) else "Validation" if is_clients else "Backend"
        return {"error": error.message, "error_type": kind}
