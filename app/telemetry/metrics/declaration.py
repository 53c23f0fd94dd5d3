"""What is said of a metric, and of the sets its label values come from."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

T = TypeVar("T")


class Label(NamedTuple):
    """A label, with all values it can have; without any, its values are the operator's."""

    name: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Declaration:
    """A metric.

    Args:
        name: As Prometheus knows it.
        kind: Counters only rise, gauges are states, histograms count by size.
        unit: Of its value; "" for a yes or no.
        meaning: For an operator: what it shows, and what it means when it rises.
        labels: Of each of its series.
        buckets: Upper bounds, in the unit; of histograms only.
        is_read: Whether a counter is kept elsewhere, and read at a scrape like a gauge.
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
