"""What is wanted of the gateway, what is put up with, and whether a run of the suite has seen it."""

from collections.abc import Callable
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
    """

    what: str
    figure: Callable[[Figures], float]
    goal: float
    accepted: float
    unit: str = ""

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
        return "accepted" if better * measured <= better * self.accepted else "missed"


def _of(what: str, whose: str = "gateway") -> Callable[[Figures], float]:
    return lambda figures: figures[what][whose]


def _times(what: str, more: str, less: str = "gateway") -> Callable[[Figures], float]:
    """How many times the one's figure is the other's."""
    return lambda figures: figures[what][more] / figures[what][less]


def _added(clients: int) -> Callable[[Figures], float]:
    what = f"p50_ms.{clients}"
    return lambda figures: figures[what]["gateway"] - figures[what]["worker"]


def _workers(service: str) -> Callable[[Figures], float]:
    """How many times faster four workers are than one."""
    return _times(f"thousand_ms.{service}", "gateway, 1", "gateway, 4")


_SMALL = "32 documents of 700 bytes"
GOALS = (
    Goal(f"{_SMALL}, none known: CPU per request", _of("cpu_ms.unknown"), 0.45, 0.6, "ms"),
    Goal("the same of LiteLLM, in gateways", _times("cpu_ms.unknown", "litellm"), 25, 16, "x"),
    Goal("the same of the plain proxy, in gateways", _times("cpu_ms.unknown", "plain proxy"), 4, 2.9, "x"),
    Goal(f"{_SMALL}, all known, shuffled: CPU per request", _of("cpu_ms.known"), 0.18, 0.25, "ms"),
    Goal("1000 documents of 600 bytes, none known: CPU per request", _of("cpu_ms.big"), 5, 8, "ms"),
    Goal("added latency, p50, 1 client", _added(1), 0.7, 1, "ms"),
    Goal("added latency, p50, 10 clients", _added(10), 3, 4, "ms"),
    Goal("1000 documents, 4 workers against 1, fast GPU", _workers("gpu"), 3.8, 3.6, "x"),
    Goal("1000 documents, 4 workers against 1, CPU", _workers("cpu"), 3.8, 3.6, "x"),
    Goal("1000 documents, one real worker, against one call", _times("live_ms", "one call"), 1.5, 1.25, "x"),
    Goal("pairs scored per distinct pair, batches of 32", _of("scored_per_distinct", "batches of 32"), 1, 1),
    Goal("pairs scored per distinct pair, one call", _of("scored_per_distinct", "one call"), 1, 1),
    Goal(
        "the same, two replicas that share a Valkey", _of("scored_per_distinct", "two replicas, one Valkey"), 1.05, 1.05
    ),
    Goal("small requests at 90 % load: p99 against idle", _times("mixed_p99_ms", "busy", "idle"), 4, 6, "x"),
    Goal("memory, idle", _of("memory_mb", "idle"), 90, 120, "MB"),
    Goal("memory growth over the soak", _of("memory_growth_percent"), 1, 3, "%"),
    Goal("ready with workers that can be reached", _of("start_s", "ready"), 1.0, 1.5, "s"),
    Goal("`import app.main`", _of("start_s", "import"), 0.4, 0.6, "s"),
)
