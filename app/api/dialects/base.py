"""What every dialect says of itself, and the wire rules that all dialects share."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from math import ceil
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema

from app.api.dialects.content import documents_in, side_of
from app.api.dialects.schemas import DOCUMENTS_SCHEMA, SIDE_SCHEMA, RerankAnswer, usage
from app.errors import BadInput, Overloaded, RerankError
from app.policy.rank import rank
from app.types import LongDocuments, Pairs, RerankRequest, Scored, Side, text_of

# Cohere counts a search of up to 100 documents as one unit.
_DOCUMENTS_PER_SEARCH_UNIT = 100
# No model takes as many tokens; a longer number would only make a longer error.
_MOST_TOKENS = 2**31 - 1


# The example of the documents, in every dialect.
QUERY = "What is the capital of France?"
DOCUMENTS = [
    "The capital of Brazil is Brasilia.",
    "The capital of France is Paris.",
    "Horses and cows are both animals.",
]


def example(**more: object) -> Mapping[str, Any]:
    """A request to try, of the fields that most dialects have, and more."""
    return {"query": QUERY, "documents": DOCUMENTS} | more


class Dialect:
    """One wire shape of requests, answers and errors. All that is known of it is said here, once.

    Attributes:
        name: Its name in `?dialect=`, as the first segment of a path, in metrics and in the log.
        prefixes: More first segments of a path that choose it.
        routes: The routes where a request is in this dialect when nothing says otherwise.
        sign: The fields of a body that give it away, for people; empty when a body never does.
        request: Its request, for people.
        answer: Its answer, for people.
        texts: Where the texts stand in a body, `outer.inner` when they stand one level down.
        body: The request's fields.
        shown: The type of the answer.
        api_version: Of Cohere's, in the answer it has in common with vLLM and Jina.
        example: A request to try.
    """

    name: ClassVar[str]
    prefixes: ClassVar[tuple[str, ...]] = ()
    routes: ClassVar[tuple[str, ...]] = ()
    sign: ClassVar[str] = ""
    request: ClassVar[str]
    answer: ClassVar[str]
    texts: ClassVar[tuple[str, ...]] = ("documents",)
    body: ClassVar[type["Wire"]]
    shown: ClassVar[Any] = RerankAnswer
    api_version: ClassVar[str] = "1"
    example: ClassVar[Mapping[str, Any]] = example()

    def is_told_by(self, body: Mapping[str, Any]) -> bool:
        """True if the body has the dialect's `sign`."""
        return False

    def parse(self, body: Mapping[str, Any], route: str) -> RerankRequest:
        """The request in `body`.

        Args:
            body: The decoded JSON object, defaults from path and query string filled in.
            route: The route it came to.

        Raises:
            BadInput: names the field at fault.
        """
        return self.body.read(body).request()

    def render(self, request: RerankRequest, scored: Scored, request_id: str) -> object:
        """The body of an answer, ready to be encoded as JSON: the one that vLLM, Jina and Cohere share.

        `meta` is Cohere's, `usage` and `model` are vLLM's and Jina's.
        """
        units = ceil(len(request.pairs) / _DOCUMENTS_PER_SEARCH_UNIT)
        about = {"api_version": {"version": self.api_version}, "billed_units": {"search_units": units}}
        return {
            "id": f"rerank-{request_id}",
            "model": scored.model,
            "usage": usage(scored),
            "results": rows(request, scored, score="relevance_score", document="document"),
            "meta": about | {"score_scale": scored.score_scale} | _remarks(scored),
        }

    def render_error(self, error: RerankError, path: str) -> object:
        """The body of an error answer: vLLM's, its message once more where clients of the path look for it."""
        told: dict[str, object] = {
            "error": {"message": error.told, "type": error.kind, "param": error.param, "code": error.status}
        }
        if path.startswith("/v2"):
            told["message"] = error.told
        elif path.startswith("/v1") or path == "/rerank":
            told["detail"] = error.told
        return told


class PlainErrors(Dialect):
    """A dialect whose errors are a plain text, as those of TEI."""

    def render_error(self, error: RerankError, path: str) -> object:
        is_clients = error.status < HTTPStatus.INTERNAL_SERVER_ERROR
        kind = "Overloaded" if isinstance(error, Overloaded) else "Validation" if is_clients else "Backend"
        return {"error": error.told, "error_type": kind}


def _limit(value: int | None) -> int | None:
    if value == 0:
        raise ValueError("0 leaves nothing to score: send -1 for the model's length, or a positive number")
    return value


# Without it, a list of 4 million numbers would give as many errors: 23 s and 3.4 GB for a body of 8 MB.
Strings = Annotated[list[str], Field(fail_fast=True)]
# How many results a client wants; `Wire.request_for` takes 0 for all.
Wanted = Annotated[int | None, Field(ge=0, description="Results wanted; 0, null or absent means all.")]
# Errors name the field and the place in it.
Query = Annotated[Side, PlainValidator(partial(side_of, place="query")), WithJsonSchema(SIDE_SCHEMA)]
Documents = Annotated[
    list[Side], PlainValidator(partial(documents_in, name="documents")), WithJsonSchema(DOCUMENTS_SCHEMA)
]
Passages = Annotated[
    list[Side], PlainValidator(partial(documents_in, name="passages")), WithJsonSchema(DOCUMENTS_SCHEMA)
]


class Wire(BaseModel):
    """The fields that requests of all dialects may have. Unknown ones are ignored, as vLLM does."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    model: str | None = Field(default=None, description="May be left out when there is one model, or a default.")
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, le=_MOST_TOKENS), AfterValidator(_limit)] | None = Field(
        default=None, description="Cut query and document together at this many tokens; -1 is the model's length."
    )
    truncation_side: Literal["left", "right"] | None = None
    max_tokens_per_query: int | None = Field(default=None, ge=0, description="Cut the query at this many tokens.")
    max_tokens_per_doc: int | None = Field(default=None, ge=0, description="Cut each document at this many tokens.")
    use_activation: bool | None = Field(default=None, description="false returns raw logits.")
    instruction: str | None = Field(default=None, description="What to judge by; for models behind a chat template.")
    long_documents: LongDocuments | None = Field(
        default=None, description="What becomes of documents too long for the model: truncate, error or passages."
    )
    return_passages: bool | None = Field(
        default=None, description="Whether results say which passage of their document has the score."
    )
    timeout_ms: int | None = Field(
        default=None, gt=0, description="Give up after this long; never longer than the gateway's own."
    )

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Self:
        """The checked fields of `body`.

        Raises:
            BadInput: names the first field at fault, never its value.
        """
        try:
            return cls.model_validate(body)
        except ValidationError as exc:
            raise bad_input(exc) from None

    @abstractmethod
    def request(self) -> RerankRequest:
        """The request that these fields make.

        Raises:
            BadInput: as `Dialect.parse`.
        """

    def request_for(
        self,
        queries: Sequence[Side],
        documents: Sequence[Side],
        *,
        top_n: int | None = None,
        echo: Sequence[object] | None = None,
        is_cut: bool | None = None,
        max_passages: int | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> RerankRequest:
        """The request for scores of these pairs, with the wishes that all dialects know.

        Args:
            queries: One, or as many as documents.
            documents: At least one.
            top_n: Results wanted; 0 and None mean all.
            echo: As in `RerankRequest`.
            is_cut: Whether documents too long for the model are cut or an error; None leaves it to the settings.
            max_passages: As in `RerankRequest`.
            fields: Scoring fields; by default `scoring_fields`.
        """
        return RerankRequest(
            pairs=Pairs(queries, documents),
            model=self.model,
            top_n=top_n or None,
            echo=echo,
            fields=self.scoring_fields() if fields is None else fields,
            long_documents=self.long_documents,
            is_cut=is_cut,
            max_passages=max_passages,
            return_passages=bool(self.return_passages),
            timeout_ms=self.timeout_ms,
        )

    def scoring_fields(self) -> dict[str, Any]:
        """The fields that change scores, as far as the client sent them."""
        return {name: value for name in SCORING_FIELDS if (value := getattr(self, name)) is not None}


SCORING_FIELDS = (
    "truncate_prompt_tokens",
    "truncation_side",
    "max_tokens_per_query",
    "max_tokens_per_doc",
    "use_activation",
    "instruction",
)


class RankBody(Wire):
    """The fields of most dialects: one query and its documents."""

    query: Query
    documents: Documents


def _remarks(scored: Scored) -> dict[str, object]:
    """The remarks about scores: degraded ones, those by passage, and refused documents."""
    remarks: dict[str, object] = {}
    if scored.degraded:
        remarks["degraded"] = scored.degraded
    if cut := scored.by_passage:
        remarks["passages"] = {"documents": cut.cut, "scored": cut.scored, "dropped": cut.dropped}
    if scored.unscored:
        remarks["warnings"] = [
            f"documents[{index}] has the lowest score, since no worker would score it: {reason}"
            for index, reason in sorted(scored.unscored.items())
        ]
    return remarks


def rows(request: RerankRequest, scored: Scored, *, score: str, document: str) -> list[dict[str, object]]:
    """The ranking as objects; `score` and `document` are the dialect's names for these fields."""
    scores, echoed = scored.scores, request.echo
    best = rank(scores, request.top_n)
    found: list[dict[str, object]]
    if echoed is None:
        found = [{"index": index, score: scores[index]} for index in best]
    else:
        found = [{"index": index, score: scores[index], document: echoed[index]} for index in best]
    if request.return_passages:
        for index, row in zip(best, found, strict=True):
            row["passage"] = passage(request, scored, index)
    return found


def passage(request: RerankRequest, scored: Scored, index: int) -> dict[str, int]:
    """The part of a document that has its score; all of one that wasn't cut."""
    cut = scored.by_passage
    start, end = cut.best[index] if cut else (0, len(request.pairs.documents[index]))
    return {"start": start, "end": end}


def echo(documents: Sequence[Side], *, wanted: bool | None) -> Sequence[object] | None:
    """The documents to return, as vLLM, Jina and Cohere write them; None when the client wants none."""
    return [{"text": text_of(document)} for document in documents] if wanted else None


def plain_echo(documents: Sequence[Side], *, wanted: bool | None) -> Sequence[object] | None:
    """The documents to return as plain strings; None when the client wants none."""
    return [*map(text_of, documents)] if wanted else None


def bad_input(exc: ValidationError) -> BadInput:
    """The error for the first invalid field. It names the field, never its value."""
    error = exc.errors(include_url=False, include_context=False, include_input=False)[0]
    steps = [step for step in error["loc"] if not (isinstance(step, str) and step.startswith("function-"))]
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    problem = error["msg"].removeprefix("Value error, ")
    return BadInput(f"{place}: {problem}", param=place or None)
