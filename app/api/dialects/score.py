"""vLLM's `/score`: pairs scored one by one, in the order they were sent."""

import time
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from app.api.dialects import base
from app.errors import BadInput, RerankError
from app.types import Pairs, RerankRequest, Scored


def _as_list(texts: object) -> object:
    if not isinstance(texts, str | list):
        raise ValueError("send a string or a list of strings")  # noqa: TRY004 - pydantic takes no TypeError here
    return [texts] if isinstance(texts, str) else texts


# No union of str and list: its errors name a branch of the union where a client looks for an index.
Texts = Annotated[
    base.Strings,
    Field(min_length=1),
    BeforeValidator(_as_list),
    WithJsonSchema({"anyOf": [{"type": "array", "minItems": 1, "items": {"type": "string"}}, {"type": "string"}]}),
]
# The four names vLLM knows for the two sides of the pairs.
_SIDES = (("text_1", "text_2"), ("data_1", "data_2"), ("queries", "documents"), ("queries", "items"))


class ScoreBody(base.Wire):
    """A score request: one query and one text, one query and N texts, or N of each."""

    text_1: Texts | None = None
    text_2: Texts | None = None
    data_1: Texts | None = None
    data_2: Texts | None = None
    queries: Texts | None = None
    documents: Texts | None = None
    items: Texts | None = None

    @model_validator(mode="after")
    def _has_both_sides(self) -> "ScoreBody":
        self.sides()
        return self

    def sides(self) -> tuple[list[str], list[str]]:
        """The queries and the documents, whichever names the client used."""
        for one, other in _SIDES:
            queries, documents = getattr(self, one), getattr(self, other)
            if queries is not None and documents is not None:
                return queries, documents
        raise BadInput("send text_1 and text_2, or queries and documents", param="text_1")


class Score:
    """`data` with `score`, in the order of the request."""

    name: ClassVar[str] = "score"

    def parse(self, body: Mapping[str, Any]) -> RerankRequest:
        wire = ScoreBody.read(body)
        queries, documents = wire.sides()
        if len(queries) not in {1, len(documents)}:
            message = f"{len(queries)} queries and {len(documents)} documents: send 1:1, 1:N or N:N"
            raise BadInput(message, param="text_1")
        return RerankRequest(
            pairs=Pairs(queries, documents),
            model=wire.model,
            fields=wire.scoring_fields(),
            timeout_ms=wire.timeout_ms,
        )

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        return {
            "id": f"score-{request_id}",
            "object": "list",
            "created": int(time.time()),
            "model": scored.model,
            "data": [{"index": index, "object": "score", "score": score} for index, score in enumerate(scored.scores)],
            "usage": {"prompt_tokens": scored.tokens, "total_tokens": scored.tokens},
        }

    def render_error(self, error: RerankError, path: str) -> object:
        return base.render_openai_error(error, path)
