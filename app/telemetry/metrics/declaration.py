"""Declarations of metrics and of their labels."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

T = TypeVar("T")


class Label(NamedTuple):
    """A label with all its possible values; empty when the operator chooses them, as names of workers."""

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
        is_read: True for a counter that is kept elsewhere, and read at a scrape like a gauge.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    meaning: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    is_read: bool = False


def subclasses(root: type[T]) -> list[type[T]]:
    """All classes below `root`, however deep."""
    found = root.__subclasses__()
    for each in found:
        found.extend(each.__subclasses__())
    return found
