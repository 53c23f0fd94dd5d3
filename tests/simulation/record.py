"""What happened in a run: written down by the simulated world, read by the invariants and the story."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple

from tests.simulation import texts
from tests.simulation.plan import Ask


class Note(NamedTuple):
    """A line of the story: when, who, and what happened."""

    at: float
    who: str
    what: str


@dataclass(slots=True, eq=False)
class Call:
    """One call that reached a worker, or was on its way there.

    Args:
        worker: Whom it went to.
        gateway: Which replica sent it.
        request_id: Whose it is.
        query: Its query.
        documents: What was to be scored.
        is_probe: Whether the gateway asked on its own account.
        began: When it was sent.
        ended: When it was over.
        how: How it ended: `scored`, `cancelled`, or what went wrong.
    """

    worker: str
    gateway: int
    request_id: str
    query: str
    documents: Sequence[str]
    is_probe: bool
    began: float
    ended: float = inf
    how: str = ""


@dataclass(slots=True, eq=False)
class Request:
    """One request of a client.

    Args:
        id: Sent as `X-Request-Id`.
        ask: What the plan says of it.
        query: Its query.
        documents: All its documents.
        began: When its head was sent.
        deadline: When it has to be answered.
        left: When the client closed its connection; infinite if it didn't.
        ended: When the gateway was done with it.
        status: Of the answer; 0 before, and when the client had left.
        headers: Of the answer.
        body: Of the answer, decoded.
        crash: What the gateway raised instead of answering.
        forecast_s: How long admission thought it would take when it was sent; None when it would wait for nobody.
    """

    id: str
    ask: Ask
    query: str
    documents: Sequence[str]
    began: float
    deadline: float
    left: float = inf
    ended: float = inf
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    crash: BaseException | None = None
    forecast_s: float | None = None

    @property
    def is_answered(self) -> bool:
        """Whether the client got an answer."""
        return self.status != 0

    @property
    def distinct(self) -> int:
        """How many of its pairs differ, at most: where it is scored by passage, each passage is one."""
        return sum(max(map(len, self.ways(document))) for document in set(self.documents))

    @property
    def texts(self) -> set[str]:
        """All that may be scored with its query: its documents, or their passages."""
        return {text for document in set(self.documents) for way in self.ways(document) for text in way}

    def ways(self, document: str) -> list[list[str]]:
        """The texts that one of its documents may be scored by: itself, or passages, cut in one of two ways."""
        return texts.cuts(self.query, document) if self.ask.is_by_passage else [[document]]


class Spell(NamedTuple):
    """A worker had some weights for a time."""

    worker: str
    models: tuple[str, ...]
    weights: int
    version: str
    since: float


@dataclass(slots=True)
class Trouble:
    """A time during which something was wrong with a worker, or it couldn't be had; `amount` as of the fault."""

    worker: str
    kind: str
    since: float
    until: float = inf
    amount: float = 0.0


@dataclass
class Record:
    """All that happened.

    Args:
        notes: The story.
        requests: In the order they were sent.
        calls: In the order they began.
        spells: Which weights each worker had, in the order they changed.
        problems: What was wrong with workers.
        standstills: When the process got no CPU: from, to.
        tainted: Scores computed by workers whose new weights nobody could know of yet: (weights, query, document).
        denied: When the budget refused a retry.
        flushes: When an operator flushed which model.
        sizes: What each gateway kept at each measurement, by name.
        bugs: What the gateway's log called a bug, or an error.
        on_call_end: Told of the end of each call to a worker.
    """

    notes: list[Note] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    spells: list[Spell] = field(default_factory=list)
    problems: list[Trouble] = field(default_factory=list)
    standstills: list[tuple[float, float]] = field(default_factory=list)
    tainted: set[tuple[int, str, str]] = field(default_factory=set)
    flushes: list[tuple[float, str]] = field(default_factory=list)
    denied: list[float] = field(default_factory=list)
    sizes: list[dict[str, int]] = field(default_factory=list)
    bugs: list[Note] = field(default_factory=list)
    on_call_end: dict[object, Callable[[], None]] = field(default_factory=dict)

    def troubles_of(self, workers: set[str], since: float, until: float) -> list[Trouble]:
        """What was wrong with some workers in a time."""
        return [one for one in self.problems if one.worker in workers and one.since < until and one.until > since]

    def stood_still(self, since: float, until: float) -> float:
        """Seconds of a time during which the process got no CPU."""
        return sum(max(0.0, min(until, end) - max(since, begin)) for begin, end in self.standstills)
