"""The nouns that travel through the pipeline: a request comes in, is cut into chunks, and leaves as scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

LongDocuments = Literal["truncate", "error"]


class Fingerprint(NamedTuple):
    """Workers with equal fingerprints give equal scores; a request never mixes two.

    Source: `/v1/models` and `/version` of the worker, `revision` from our settings.
    """

    model: str
    root: str
    max_model_len: int
    version: str
    revision: str


@dataclass(frozen=True, slots=True)
class Pairs:
    """Query-document pairs: one query for all documents, or one query per document.

    Args:
        queries: 1 or `len(documents)` strings.
        documents: At least one string; empty strings are documents too.
    """

    queries: Sequence[str]
    documents: Sequence[str]

    def __len__(self) -> int:
        return len(self.documents)

    def take(self, indices: Sequence[int]) -> "Pairs":
        """The pairs at `indices`, in that order."""
        documents = [self.documents[i] for i in indices]
        if len(self.queries) == 1:
            return Pairs(self.queries, documents)
        return Pairs([self.queries[i] for i in indices], documents)


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankRequest:
    """A client's request, freed from the dialect it came in.

    Args:
        pairs: What is to be scored.
        model: The name that was asked for; None leaves the choice to the gateway.
        top_n: Results wanted; None means all.
        echo: What a result's `document` is, per document; None when documents aren't returned.
        fields: Scoring fields for the worker, as the client sent them.
        long_documents: What to do with a document too long for the model; None leaves it to the settings.
        timeout_ms: The client's own time limit, from the body or the query string.
    """

    pairs: Pairs
    model: str | None = None
    top_n: int | None = None
    echo: Sequence[object] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    long_documents: LongDocuments | None = None
    timeout_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chunk:
    """A slice of one request's pairs, sent to a worker in one call.

    Args:
        pairs: The slice.
        fingerprint: Only workers of this fingerprint may score it.
        fields: Fields that go to the worker beside the texts.
        tokens: Estimated tokens, the unit in which work is balanced.
        request_id: Sent to the worker as `X-Request-Id`.
        deadline: On the loop's clock, in seconds.
    """

    pairs: Pairs
    fingerprint: Fingerprint
    fields: Mapping[str, Any]
    tokens: int
    request_id: str
    deadline: float


class Answer(NamedTuple):
    """A worker's answer to one chunk.

    `scores` are finite and in the chunk's order; `tokens` is what the worker says it processed.
    """

    scores: list[float]
    tokens: int


@dataclass(slots=True)
class Tally:
    """What one request has cost so far, for its log line; it counts on when the request fails."""

    model: str = ""
    documents: int = 0
    chunks: int = 0
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The scores of a request: `scores[i]` belongs to document i of the request.

    Args:
        model: The name the client asked for, or the one the gateway chose.
        scores: Finite, one per document.
        tokens: Tokens that workers processed for this request.
    """

    model: str
    scores: Sequence[float]
    tokens: int
