"""Types that go through the pipeline: a request comes in, is split into chunks, and leaves as scores."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from app.errors import WorkerError

LongDocuments = Literal["truncate", "error", "passages"]
CacheUse = Literal["default", "no-cache", "no-store"]
# Of a model: how it compares a query with documents, and what its scores are.
Kind = Literal["cross_encoder", "template", "bi_encoder", "late_interaction", "listwise"]
ScoreScale = Literal["probability", "cosine", "logit", "maxsim"]
# A larger one is no float32: Milvus fails a search over it.
LARGEST_SCORE = 3.4028234663852886e38


class Fingerprint(NamedTuple):
    """Workers with equal fingerprints give equal scores; a request never mixes two.

    Source: `/v1/models` and `/version` of the worker, `revision` from our settings; `probe_scores` are the scores of
    the probe's fixed pairs, and tell apart workers whose scores differ by more than precision explains.
    """

    model: str
    root: str
    max_model_len: int
    version: str
    revision: str
    probe_scores: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """An image inside of a query or document; images of equal digests are equal.

    Args:
        url: As workers get it: `data:` in one spelling, whatever the client's was, or an address they fetch it from.
        digest: SHA-256 of the image's bytes, or of the address of one that workers fetch.
        tokens: Estimated.
        host: Where workers fetch it from, with the port unless it is the usual one; empty for `data:`.
    """

    url: str = field(compare=False, repr=False)
    digest: bytes
    tokens: int = field(compare=False)
    host: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Content:
    """A query or document that holds at least one image, and texts perhaps, in the order in which they were sent."""

    parts: Sequence[str | Image]

    def __len__(self) -> int:
        """The characters of its texts, as of a document that is one."""
        return len(self.text)

    @property
    def text(self) -> str:
        """The texts in one, joined as vLLM joins them; empty when there is none."""
        return "\n".join(part for part in self.parts if isinstance(part, str))

    @property
    def images(self) -> Sequence[Image]:
        """The images, in order."""
        return [part for part in self.parts if isinstance(part, Image)]


# One side of a pair, a query or a document: a text in all but a few requests.
Side = str | Content


def text_of(side: Side) -> str:
    """The text of a query or document, without its images."""
    return side if isinstance(side, str) else side.text


@dataclass(frozen=True, slots=True)
class Pairs:
    """Query-document pairs: one query for all documents, or one query per document.

    Args:
        queries: 1 or `len(documents)` of them.
        documents: At least one; empty strings are documents too.
    """

    queries: Sequence[Side]
    documents: Sequence[Side]

    def __len__(self) -> int:
        return len(self.documents)

    def texts(self) -> Sequence[Hashable]:
        """The texts that tell the pairs apart: the document where they share a query, else both."""
        if len(self.queries) == 1:
            return self.documents
        return list(zip(self.queries, self.documents, strict=True))

    def hold_images(self) -> bool:
        """True if a query or document holds an image."""
        return not {*map(type, self.documents), *map(type, self.queries)} <= {str}

    def take(self, indices: Sequence[int]) -> "Pairs":
        """The pairs at `indices`, in that order."""
        documents = [*map(self.documents.__getitem__, indices)]
        if len(self.queries) == 1:
            return Pairs(self.queries, documents)
        return Pairs([*map(self.queries.__getitem__, indices)], documents)


class Passage(NamedTuple):
    """A part of a document: its characters from `start` up to `end`, counted in Unicode code points."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankRequest:
    """A client's request, in no dialect.

    Args:
        pairs: What is to be scored.
        model: The name that was asked for; None leaves the choice to the gateway.
        top_n: Results wanted; None means all.
        echo: What a result's `document` is, per document; None when documents aren't returned.
        fields: Scoring fields for the worker, as the client sent them.
        long_documents: What to do with a document too long for the model; None leaves it to `is_cut` and the settings.
        is_cut: False makes such a document an error; True has it cut, in the way that the settings say.
        max_passages: Passages of a document at most, where that is fewer than the settings allow.
        return_passages: Whether results say which passage of their document had its score.
        timeout_ms: The client's own time limit, from the body or the query string.
    """

    pairs: Pairs
    model: str | None = None
    top_n: int | None = None
    echo: Sequence[object] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    long_documents: LongDocuments | None = None
    is_cut: bool | None = None
    max_passages: int | None = None
    return_passages: bool = False
    timeout_ms: int | None = None


@dataclass(slots=True)
class RequestStats:
    """The cost of one request so far, for its log line; it counts on when the request fails.

    Args:
        body_s: Until its body had come.
        no_worker_s: While no worker of its model was usable.
        cache_s: For look-ups.
        workers_s: From the look-up to the last score, waits in the queue included.
        queue_s: The longest wait of a chunk for a slot, not the sum of all: they wait side by side.
        passages: Pairs that long documents were cut into; 0 when none was.
        passages_dropped: Passages beyond those, which aren't scored.
    """

    model: str = ""
    documents: int = 0
    cache_hits: int = 0
    body_s: float = 0.0
    no_worker_s: float = 0.0
    cache_s: float = 0.0
    coalesced: int = 0
    workers_s: float = 0.0
    queue_s: float = 0.0
    chunks: int = 0
    attempts: int = 0
    passages: int = 0
    passages_dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequestContext:
    """The facts of a request that concern its treatment, not its content: who asks, until when, and what it has cost.

    Two requests are never equal, however alike they are: each has a share of its own.

    Args:
        key: The name of the API key.
        request_id: What the ids of its calls to workers begin with, which are sent as `X-Request-Id`.
        deadline: On the loop's clock, in seconds.
        priority: Lower goes first among the key's own requests.
        takes_degraded: Whether scores of the fallback are better than none.
        cache: `no-cache` stores scores but reads none; `no-store` has nothing to do with the cache, nor with
            computations.
        stats: Count on as the work goes on.
    """

    key: str
    request_id: str
    deadline: float
    priority: int = 0
    takes_degraded: bool = True
    cache: CacheUse = "default"
    stats: RequestStats = field(default_factory=RequestStats)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chunk:
    """A slice of one request's pairs, sent to a worker in one call.

    Args:
        pairs: The slice.
        fingerprint: Only workers of this fingerprint may score it.
        fields: Fields that go to the worker beside the texts.
        context: Whose chunk it is.
        digests: What each pair is known by in caches and computations; empty when it shall not be known.
        pair_tokens: Estimated tokens of each pair; empty as long as nobody asks for them.
        tokens: Their sum, the unit in which work is balanced.
        is_whole: Whether it may not be split, since the pairs' scores depend on each other.
    """

    pairs: Pairs
    fingerprint: Fingerprint
    fields: Mapping[str, Any]
    context: RequestContext
    digests: Sequence[bytes] = ()
    pair_tokens: Sequence[int] = ()
    tokens: int = 0
    is_whole: bool = False

    def part(self, indices: Sequence[int]) -> "Chunk":
        """The chunk of the pairs at `indices`; itself when these are all."""
        if len(indices) == len(self.pairs):
            return self
        pair_tokens = [*map(self.pair_tokens.__getitem__, indices)] if self.pair_tokens else ()
        digests = [*map(self.digests.__getitem__, indices)] if self.digests else ()
        pairs, tokens = self.pairs.take(indices), sum(pair_tokens)
        return replace(self, pairs=pairs, digests=digests, pair_tokens=pair_tokens, tokens=tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByPassage:
    """The passages that documents were scored by.

    Args:
        best: Of each document, the one that its score is of; all of a document that fits.
        cut: How many documents didn't.
        scored: Passages of those.
        dropped: Passages of their ends that weren't scored; an estimate.
    """

    best: Sequence[Passage]
    cut: int
    scored: int
    dropped: int


class Answer(NamedTuple):
    """The scores of some pairs.

    Args:
        scores: In the order of the pairs; finite, but for those in `refused`, which are NaN.
        tokens: What the workers say they processed.
        refused: Why a pair has no score, by its place.
        by_passage: How they came about, when they are of documents some of which were cut.
    """

    scores: list[float]
    tokens: int
    refused: Mapping[int, WorkerError] = MappingProxyType({})
    by_passage: ByPassage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The scores of a request: `scores[i]` belongs to document i of the request.

    Args:
        model: The name the client asked for, or the one the gateway chose.
        scores: Finite, one per document.
        tokens: Tokens that workers processed for this request.
        unscored: Documents no worker would score, by index, with the reason; they have the lowest score of all.
        degraded: The fallback that scored them, when no worker of the model could.
        by_passage: How the scores came about, when documents were cut into passages.
        score_scale: Of the scores.
    """

    model: str
    scores: Sequence[float]
    tokens: int
    unscored: Mapping[int, str] = field(default_factory=dict)
    degraded: str | None = None
    by_passage: ByPassage | None = None
    score_scale: ScoreScale = "probability"
