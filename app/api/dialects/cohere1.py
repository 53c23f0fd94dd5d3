"""Cohere's v1 shape: documents may be objects whose fields are ranked together."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from app.api.dialects import base
from app.errors import BadInput, RerankError
from app.types import Pairs, RerankRequest, Scored


def _text_or_object(document: object) -> object:
    # One message: the union's own errors name each of its branches.
    if not isinstance(document, str | dict):
        raise ValueError("send a string or an object")  # noqa: TRY004 - pydantic takes no TypeError here
    return document


class Cohere1Body(base.Wire):
    """A rerank request as Cohere's v1 clients write it. `max_chunks_per_doc` is accepted and ignored."""

    query: str
    documents: list[Annotated[str | dict[str, Any], BeforeValidator(_text_or_object)]] = Field(
        min_length=1, fail_fast=True
    )
    top_n: int | None = Field(default=None, ge=0)
    rank_fields: base.Strings | None = Field(
        default=None, description="Fields of document objects to rank by, in order; each counts once."
    )
    return_documents: bool = False


class Cohere1:
    """`results` with `relevance_score`; a returned document is the object that was sent."""

    name: ClassVar[str] = "cohere1"

    def parse(self, body: Mapping[str, Any]) -> RerankRequest:
        wire = Cohere1Body.read(body)
        places = {field: place for place, field in enumerate(dict.fromkeys(wire.rank_fields or ["text"]))}
        texts = [_joined(document, places, index) for index, document in enumerate(wire.documents)]
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

    def render_error(self, error: RerankError, path: str) -> object:
        return base.render_openai_error(error, path)


def _joined(document: str | dict[str, Any], places: Mapping[str, int], index: int) -> str:
    """The text a document is ranked by: its fields that are in `rank_fields`, in that order.

    Each field is taken once, in one pass over the document's own fields: documents times `rank_fields` can be 10,000
    times as much as the body. 587 kB took 5 s, and 557 kB with one long text took 2.6 GB.
    """
    if isinstance(document, str):
        return document
    is_short = len(places) <= len(document)
    fields = places if is_short else sorted(places.keys() & document.keys(), key=places.__getitem__)
    values = [document[field] for field in fields if document.get(field) is not None]
    if not values:
        place = f"documents[{index}]"
        raise BadInput(
            f"{place} has none of the fields {', '.join(places)[:100]}: name its fields in rank_fields", param=place
        )
    return "\n".join(value if isinstance(value, str) else str(value) for value in values)
