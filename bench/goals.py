"""What is wanted of the gateway, what is put up with, and whether a run of the suite has seen it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from bench.report import Figures

Verdict = Literal["met", "accepted", "missed", "not measured"]


@dataclass(frozen=True)
class Goal:
    """One figure with two bounds.

    Attributes:
        what: What is measured.
        figure: Finds it among the figures; a KeyError says that it wasn't measured.
        goal: What is wanted.
        accepted: What is put up with.
        unit: What stands behind the numbers.
        obstacle: What stops the rest where the goal isn't met.
        condition: What else has to hold for `accepted` to be enough, in words.
        holds: Whether it does.
    """

    what: str
    figure: Callable[[Figures], float]
    goal: float
    accepted: float
    unit: str = ""
    obstacle: str = ""
    condition: str = ""
    holds: Callable[[Figures], bool] = lambda _: True

    def measured(self, figures: Figures) -> float | None:
        """The figure, if it was measured, with the two digits behind the point that goals have."""
        try:
            return round(self.figure(figures), 2)
        except KeyError:
            return None

    def verdict(self, figures: Figures) -> Verdict:
        """Whether the figure reaches its bounds; which side of them is the good one, they say themselves."""
        measured = self.measured(figures)
        if measured is None:
            return "not measured"
        # Where the goal is the higher bound, more is better.
        better = -1 if self.goal > self.accepted else 1
        if better * measured <= better * self.goal:
            return "met"
        is_enough = better * measured <= better * self.accepted and self.holds(figures)
        return "accepted" if is_enough else "missed"


def _of(what: str, whose: str = "gateway") -> Callable[[Figures], float]:
    return lambda figures: figures[what][whose]


def _times(what: str, more: str, less: str = "gateway") -> Callable[[Figures], float]:
    """How many times the one's figure is the other's."""
    return lambda figures: figures[what][more] / figures[what][less]


def _is_small_beside(what: str, shares: Mapping[str, float]) -> Callable[[Figures], bool]:
    """Whether the gateway's figure is at most these shares of others' figures; it isn't while one is missing."""

    def holds(figures: Figures) -> bool:
        seen = figures[what]
        return all(name in seen and seen["gateway"] <= share * seen[name] for name, share in shares.items())

    return holds


def _added(clients: int) -> Callable[[Figures], float]:
    what = f"p50_ms.{clients}"
    return lambda figures: figures[what]["gateway"] - figures[what]["worker"]


def _workers(service: str) -> Callable[[Figures], float]:
    """How many times faster four workers are than one."""
    return _times(f"thousand_ms.{service}", "gateway, 1", "gateway, 4")


_SMALL = "32 documents of 700 bytes"
# By times of synchronous functions, taken in the gateway while it served: decision 0013.
_SPENT = (
    "the bare proxy, which does nothing but JSON and one call, takes a quarter of a request, hashing a tenth, looking "
    "up and storing an eighth; admission, fair shares, limits, breakers, metrics and the log line take one to five "
    "percent each"
)
_ALONE = "the gateway's own time for 1000 documents doesn't get shorter with more workers"
_MANY = "each worker is called and probed on connections of its own, which are opened anew after 2.5 s without a call"
GOALS = (
    Goal(
        f"{_SMALL}, none known: CPU per request",
        _of("cpu_ms.unknown"),
        0.45,
        0.6,
        "ms",
        _SPENT,
        condition="1/25 of LiteLLM's, 1/4 of the plain proxy's",
        holds=_is_small_beside("cpu_ms.unknown", {"litellm": 1 / 25, "plain proxy": 1 / 4}),
    ),
    Goal(
        f"{_SMALL}, all known, shuffled: CPU per request",
        _of("cpu_ms.known"),
        0.18,
        0.25,
        "ms",
        "hashing the documents takes a sixth of it, checking the body, receiving it and the log line a twelfth each; "
        "the rest looks up, ranks, encodes and answers",
    ),
    Goal(
        "1000 documents of 600 bytes, none known: CPU per request",
        _of("cpu_ms.big"),
        5,
        8,
        "ms",
        "each document is decoded, hashed, looked up, encoded and stored, which Python does one by one; on a busy "
        "machine it waits for the memory that 600 kB go through several times, as nginx does",
    ),
    Goal("added latency, p50, 1 client", _added(1), 0.7, 1, "ms", "it is the CPU time and two more ways over loopback"),
    Goal(
        "added latency, p50, 10 clients",
        _added(10),
        3,
        4,
        "ms",
        "ten clients at once keep the gateway's core busy, so each waits for ten times the CPU time of a request",
    ),
    Goal("1000 documents, 4 workers against 1, fast GPU", _workers("gpu"), 3.8, 3.6, "x", _ALONE),
    Goal("1000 documents, 4 workers against 1, CPU", _workers("cpu"), 3.8, 3.6, "x", _ALONE),
    Goal(
        "1000 documents, one real worker, against one call",
        _times("live_ms", "one call"),
        1.5,
        1.25,
        "x",
        "vLLM's three processes share two cores: tokenizing one chunk overlaps scoring another only in part",
    ),
    Goal("pairs scored per distinct pair, batches of 32", _of("scored_per_distinct", "batches of 32"), 1, 1),
    Goal("pairs scored per distinct pair, one call", _of("scored_per_distinct", "one call"), 1, 1),
    Goal(
        "the same, two replicas that share a Valkey", _of("scored_per_distinct", "two replicas, one Valkey"), 1.05, 1.05
    ),
    Goal(
        "small requests at 90 % load: p99 against idle",
        _times("mixed_p99_ms", "busy", "idle"),
        4,
        6,
        "x",
        "what a worker holds can't be reordered, and to keep it busy it holds a chunk and a half: decision 0008",
    ),
    Goal("p50 with 10 clients, 1,000 workers against 10", _times("many_p50_ms", "1000", "10"), 1.2, 1.5, "x", _MANY),
    Goal("p50 with 10 clients, 5,000 workers against 10", _times("many_p50_ms", "5000", "10"), 1.5, 3, "x", _MANY),
    Goal("CPU that probes of 1,000 workers take", _of("many_probing_percent", "1000"), 10, 20, "% of a core", _MANY),
    Goal(
        "slowest `/livez` beside a scrape, 5,000 workers",
        _of("many_livez_ms", "5000"),
        20,
        50,
        "ms",
        "a thread writes the metrics, and has the interpreter for 5 ms at a time",
    ),
    Goal("memory, 5,000 workers", _of("many_memory_mb", "5000"), 300, 400, "MB"),
    Goal("memory, idle", _of("memory_mb", "idle"), 90, 120, "MB"),
    Goal("memory growth over the soak", _of("memory_growth_percent"), 1, 3, "%"),
    Goal("ready with workers that can be reached", _of("start_s", "ready"), 1.0, 1.5, "s", "most of it is imports"),
    Goal("`import app.main`", _of("start_s", "import"), 0.4, 0.6, "s", "more than half of it is FastAPI and pydantic"),
)
