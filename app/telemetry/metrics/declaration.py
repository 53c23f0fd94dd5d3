"""Declarations of metrics and of their labels."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

T = TypeVar("T")


class Label(NamedTuple):
    """A label with all its possible values; empty where others declare them: the operator workers, the API routes."""

    name: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Declaration:
    """A metric.

    Args:
        name: Its name in Prometheus.
        kind: Counters only rise, gauges are states, histograms count by size.
        unit: Unit of its value; "" for a yes or no.
        meaning: For an operator: what it shows, and what it means when it rises.
        labels: Labels of each of its series.
        buckets: Upper bounds, in the unit; for histograms only.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    meaning: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()


def counter(name: str, unit: str, meaning: str, *labels: Label) -> Declaration:
    """A number that only rises."""
    return Declaration(name, "counter", unit, meaning, labels)


def gauge(name: str, unit: str, meaning: str, *labels: Label) -> Declaration:
    """A state, which is read at every scrape."""
    return Declaration(name, "gauge", unit, meaning, labels)


def histogram(name: str, unit: str, meaning: str, *labels: Label, buckets: tuple[float, ...]) -> Declaration:
    """A count of events by their size."""
    return Declaration(name, "histogram", unit, meaning, labels, buckets)


def subclasses(root: type[T]) -> list[type[T]]:
    """All classes below `root`, however deep."""
    found = root.__subclasses__()
    for each in found:
        found.extend(each.__subclasses__())
    return found
