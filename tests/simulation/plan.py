"""A plan: all that will happen in one run, as plain data that can be printed, shrunk and run again."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

Route = Literal["score", "identify", "tokenize", "all"]
FaultKind = Literal[
    "down", "refuse", "reset", "break", "hang", "drip", "lie", "error", "busy", "refuse_content", "misconfigured",
    "freeze", "slow",
]  # fmt: skip
Seen = Literal["ready", "waiting", "gone"]
Order = Literal["drain", "undrain", "flush", "reload", "stop"]
SharedTrouble = Literal["gone", "silent", "slow", "flushed", "evicted", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """A worker as it is at the beginning.

    Args:
        name: Its host and port.
        models: What it serves.
        fixed_s: Seconds each call takes at least.
        per_token_s: Seconds each token takes beside that.
        lanes: Calls it works on at once; the others queue.
        identify_s: Seconds it takes to say what it is.
        is_there: Whether it is there from the beginning.
    """

    name: str
    models: tuple[str, ...] = ("m",)
    fixed_s: float = 0.01
    per_token_s: float = 0.0005
    lanes: int = 1
    identify_s: float = 0.005
    is_there: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happens `at` so many virtual seconds after the beginning."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask(Event):
    """A client sends one request.

    Args:
        key: The name of its API key.
        model: What it asks for.
        query: Number of the query.
        first: Number of its first document; the others follow.
        documents: How many.
        distinct: How many of them differ; the others repeat those.
        words: About the length of each.
        unreadable: Places of documents that all workers refuse.
        priority: As in the body.
        timeout_ms: As in the body; None for the gateway's own.
        cache: As in the header.
        leaves_after_s: When the client closes its connection, answered or not; None for never.
        leaves_after_calls: In the moment in which so many calls to workers have ended since; None for never.
        leaves_steps_later: So many steps of the event loop after that, at the same virtual time.
        upload_s: How long its body takes to arrive, in two parts; 0 for at once.
        has_long_query: Whether a worker has to count its query's tokens.
        is_by_passage: Whether documents of more than `texts.READ_TOKENS` are scored by their best passage.
        route: Where it is sent.
        replica: Which gateway it asks.
    """

    key: str = "anonymous"
    model: str = "m"
    query: int = 0
    first: int = 0
    documents: int = 1
    distinct: int | None = None
    words: int = 2
    unreadable: tuple[int, ...] = ()
    priority: int = 0
    timeout_ms: int | None = None
    cache: str = "default"
    leaves_after_s: float | None = None
    leaves_after_calls: int | None = None
    leaves_steps_later: int = 0
    upload_s: float = 0.0
    has_long_query: bool = False
    is_by_passage: bool = False
    route: str = "/v1/rerank"
    replica: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop(Event):
    """Some clients each send one request after the other.

    Args:
        clients: How many.
        lasts_s: How long they begin new ones.
        think_s: The pause between an answer and the next request.
        ask: What each of them sends.
        is_fresh: Whether each request has documents that no other has.
    """

    clients: int = 1
    lasts_s: float = 1.0
    think_s: float = 0.0
    ask: Ask
    is_fresh: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(Event):
    """A worker misbehaves for a time.

    Args:
        worker: Its name.
        route: What of it; `down`, `freeze` and `slow` concern all of it.
        kind: How.
        lasts_s: For how long.
        amount: What `kind` needs beside: seconds of `drip`, the factor of `slow`, Retry-After of `busy` (0 for none).
        share: Of the calls that meet it.
    """

    worker: str
    kind: FaultKind
    route: Route = "score"
    lasts_s: float = 1.0
    amount: float = 0.0
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replace(Event):
    """A worker goes down and comes back as another under its old name: other weights, or another version."""

    worker: str
    down_s: float = 1.0
    weights: int | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discover(Event):
    """What discovery sees of a worker from now on."""

    worker: str
    seen: Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Operate(Event):
    """What an operator does; `subject` is a worker or a model."""

    order: Order
    subject: str = ""
    replica: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standstill(Event):
    """The gateway's process gets no CPU for a while."""

    lasts_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared(Event):
    """What is wrong with the cache that replicas share."""

    problem: SharedTrouble
    lasts_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure(Event):
    """The sizes of all that a gateway keeps are written down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run.

    Args:
        seed: Of the gateway's own chance and of the workers'.
        settings: Of all replicas, where they differ from the defaults.
        workers: All that there will ever be.
        events: In any order.
        replicas: How many gateways share the workers.
        has_coarse_clock: Whether the loop's clock has steps of a millisecond, as uvloop's.
        is_over_network: Whether the gateway's own links and HTTP client reach the workers, over a network in memory.
        has_presence: Whether the server tells of clients that leave, as the gateway's own does.
        modest_key: One that asks for less than its share, and mustn't notice any other; None when none is judged so.
    """

    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    workers: tuple[WorkerSpec, ...] = (WorkerSpec(name="w1"),)
    events: tuple[Event, ...] = ()
    replicas: int = 1
    has_coarse_clock: bool = False
    is_over_network: bool = False
    has_presence: bool = True
    modest_key: str | None = None


def duration_s(plan: Plan) -> float:
    """Virtual seconds until the last event has begun and ended."""
    return max((event.at + _lasts_s(event) for event in plan.events), default=0.0)


def _lasts_s(event: Event) -> float:
    if isinstance(event, Replace):
        return event.down_s
    return event.lasts_s if isinstance(event, Fault | Loop | Shared | Standstill) else 0.0


def written(thing: Any) -> str:
    """A plan, or a part of it, as Python that makes it again: what has its default is left out."""
    if is_dataclass(thing) and not isinstance(thing, type):
        given = [
            f"{one.name}={written(getattr(thing, one.name))}"
            for one in fields(thing)
            if getattr(thing, one.name) != one.default
        ]
        return f"{type(thing).__name__}({', '.join(given)})"
    if isinstance(thing, tuple):
        return f"({''.join(f'{written(one)}, ' for one in thing).strip()})"
    return repr(thing)
