"""vLLM's `/score`: pairs scored one by one, in the order they were sent."""

import time
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema

from app.api.dialects import base, schemas
from app.api.dialects.content import side_of, sides_of
from app.errors import BadInput
from app.types import RerankRequest, Scored, Side


def _as_list(sides: object, info: ValidationInfo) -> list[Side]:
    name = str(info.field_name)
    if isinstance(sides, list):
        if not sides:
            raise BadInput(f"{name} is empty: send at least one text", param=name)
        return sides if {*map(type, sides)} == {str} else sides_of(sides, name)
    return [side_of(sides, name)]


Sides = Annotated[
    list[Side],
    PlainValidator(_as_list),
    WithJsonSchema(
        {"anyOf": [{"type": "array", "minItems": 1, "items": schemas.SIDE_SCHEMA}, *schemas.SIDE_SCHEMA["anyOf"]]}
    ),
]
# The four names vLLM knows for the two sides of the pairs.
_SIDES = (("text_1", "text_2"), ("data_1", "data_2"), ("queries", "documents"), ("queries", "items"))


class ScoreBody(base.Wire):
    """A score request: one query and one text, one query and N texts, or N of each."""

    text_1: Sides | None = None
    text_2: Sides | None = None
    data_1: Sides | None = None
    data_2: Sides | None = None
    queries: Sides | None = None
    documents: Sides | None = None
    items: Sides | None = None

    def request(self) -> RerankRequest:
        queries, documents = self._sides()
        if len(queries) not in {1, len(documents)}:
            message = f"{len(queries)} queries and {len(documents)} documents: send 1:1, 1:N or N:N"
            raise BadInput(message, param="text_1")
        return self.request_for(queries, documents)

    def _sides(self) -> tuple[list[Side], list[Side]]:
        """The queries and the documents, whichever names the client used."""
        for one, other in _SIDES:
            queries, documents = getattr(self, one), getattr(self, other)
            if queries is not None and documents is not None:
                return queries, documents
        raise BadInput("send text_1 and text_2, or queries and documents", param="text_1")


class ScoreRow(schemas.Shown):
    """The score of one pair."""

    index: int
    object: str
    score: float
    passage: schemas.PassageRange | None = None


class ScoreAnswer(schemas.Shown):
    """The scores of vLLM's `/score`, in the order of the request."""

    id: str
    object: str
    created: int
    model: str
    data: list[ScoreRow]
    usage: schemas.Usage


class Score(base.Dialect):
    """`data` with `score`, in the order of the request. The only dialect of its routes, and of no other."""

    name = "score"
    routes = ("/score", "/v1/score")
    request = (
        "`text_1` and `text_2`, `data_1` and `data_2`, `queries` and `documents`, or `queries` and `items`; "
        "1:1, 1:N or N:N"
    )
    answer = "`data` of `index`, `score`, in the order of the request"
    texts = tuple(dict.fromkeys(name for sides in _SIDES for name in sides))
    body = ScoreBody
    shown = ScoreAnswer
    example: ClassVar[Mapping[str, Any]] = {"text_1": base.QUERY, "text_2": base.DOCUMENTS}

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        data: list[dict[str, object]] = [
            {"index": index, "object": "score", "score": score} for index, score in enumerate(scored.scores)
        ]
        if request.return_passages:
            for index, row in enumerate(data):
                row["passage"] = base.passage(request, scored, index)
        return {
            "id": f"score-{request_id}",
            "object": "list",
            "created": int(time.time()),
            "model": scored.model,
            "data": data,
            "usage": schemas.usage(scored),
        }
