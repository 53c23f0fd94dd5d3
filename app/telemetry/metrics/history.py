"""The last minutes of the metrics, so that the page has its charts as soon as it opens."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import KW_ONLY, dataclass, field, replace
from math import inf
from typing import NamedTuple

from app.aio import cancel_on_exit
from app.telemetry.metrics import Metrics
from app.telemetry.metrics.catalog import requests
from app.telemetry.supervision import supervised

INTERVAL_S = 2.0
_POINTS = 150
_SHED, _LEAST_ERROR = 429, 500
_KNOWN = frozenset({"memory", "redis", "coalesced", "duplicate"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The change of the metrics between two readings; rates per second, unless a name says otherwise.

    Args:
        ago_s: Seconds since the later reading.
        requests: Those answered.
        errors: Those answered with a 5xx.
        shed: Those answered with 429.
        documents: Documents that got a score.
        p50_s: Half of the requests took no longer; None when there were none.
        p99_s: The same of 99 %.
        hit_ratio: Share of documents whose score was cached, in flight or asked for twice; None without documents.
        queued_documents: Documents that wait for a slot, at the reading.
        pending_documents: Documents of admitted requests that have no score yet, at the reading.
    """

    ago_s: float
    requests: float
    errors: float
    shed: float
    documents: float
    p50_s: float | None
    p99_s: float | None
    hit_ratio: float | None
    queued_documents: int
    pending_documents: int


@dataclass(slots=True, eq=False)
class History:
    """The readings of the metrics over the last 5 minutes, one every 2 s.

    Args:
        metrics: The metrics to read.
        queued_documents: Gives the documents that wait for a slot.
        pending_documents: Gives the documents that have no score yet.
        is_wanted: Tells whether anybody may see the history; nothing is kept while nobody may.
    """

    metrics: Metrics
    _: KW_ONLY
    queued_documents: Callable[[], int]
    pending_documents: Callable[[], int]
    is_wanted: Callable[[], bool]
    _last: "_Reading | None" = field(init=False, default=None)
    _kept: deque[tuple[float, Point]] = field(init=False, default_factory=lambda: deque(maxlen=_POINTS))

    def points(self, now: float) -> list[Point]:
        """The last 5 minutes, oldest first; `now` is on the loop's clock."""
        return [replace(point, ago_s=round(now - at, 3)) for at, point in self._kept]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take readings until the end of the block."""
        async with cancel_on_exit(supervised("history", self._read_on, metrics=self.metrics)):
            yield

    def read(self, now: float) -> None:
        """Take a reading, and keep the change since the last one; `now` is on the loop's clock."""
        if not self.is_wanted():
            self._last = None
            self._kept.clear()
            return
        before, self._last = self._last, _reading(self.metrics, now)
        if before and before.at < now:
            self._kept.append((now, self._point(before, self._last)))

    async def _read_on(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.read(loop.time())
            await asyncio.sleep(INTERVAL_S)

    def _point(self, before: "_Reading", after: "_Reading") -> Point:
        change = {name: total - before.totals[name] for name, total in after.totals.items()}
        counts = [count - before.took[bound] for bound, count in after.took.items()]
        rates = {name: change[name] / (after.at - before.at) for name in ("requests", "errors", "shed", "documents")}
        return Point(
            ago_s=0.0,
            p50_s=quantile(0.5, tuple(after.took), counts),
            p99_s=quantile(0.99, tuple(after.took), counts),
            hit_ratio=change["known"] / change["documents"] if change["documents"] else None,
            queued_documents=self.queued_documents(),
            pending_documents=self.pending_documents(),
            **rates,
        )


def quantile(share: float, bounds: Sequence[float], counts: Sequence[float]) -> float | None:
    """The quantile of a histogram: the value that `share` of its events stay below, as histogram_quantile computes it.

    Within a bucket values count as evenly spread; of those beyond the last bound, only that bound is known.

    Args:
        share: From 0 to 1.
        bounds: Upper bounds of the buckets, rising, the last one infinite.
        counts: Events up to each bound.
    """
    if not counts or not counts[-1]:
        return None
    rank = share * counts[-1]
    place = next(place for place, count in enumerate(counts) if count >= rank)
    low, below = (bounds[place - 1], counts[place - 1]) if place else (0.0, 0.0)
    high, within = bounds[place], counts[place] - below
    return low if high == inf or not within else low + (high - low) * (rank - below) / within


class _Reading(NamedTuple):
    """What was counted from the start to one time; `took` has the requests that took up to each bound."""

    at: float
    totals: Mapping[str, float]
    took: Mapping[float, float]


def _reading(metrics: Metrics, now: float) -> _Reading:
    answered = [(int(one.labels["status"]), one.value) for one in metrics.samples(requests.REQUESTS)]
    scored = [(one.labels["source"], one.value) for one in metrics.samples(requests.DOCUMENTS)]
    totals = {
        "requests": sum(count for _, count in answered),
        "errors": sum(count for status, count in answered if status >= _LEAST_ERROR),
        "shed": sum(count for status, count in answered if status == _SHED),
        "documents": sum(count for _, count in scored),
        "known": sum(count for source, count in scored if source in _KNOWN),
    }
    took = dict.fromkeys((*requests.REQUEST_DURATION.buckets, inf), 0.0)
    for one in metrics.samples(requests.REQUEST_DURATION):
        if "le" in one.labels:
            took[float(one.labels["le"])] += one.value
    return _Reading(now, totals, took)
