"""The last minutes of the metrics: rates, quantiles and shares reckoned by hand, in bounded memory."""

from math import inf
from time import process_time

import pytest

from app.telemetry.metrics import Metrics
from app.telemetry.metrics.history import History, Point, quantile
from tests.growth import traced_memory

BOUNDS = (1.0, 2.0, 4.0, inf)


def a_history(metrics: Metrics, *, queued: int = 0, pending: int = 0) -> History:
    return History(metrics, queued_documents=lambda: queued, pending_documents=lambda: pending, is_wanted=lambda: True)


@pytest.mark.parametrize(
    ("share", "counts", "expected"),
    [
        (0.5, (10, 10, 10, 10), 0.5),  # the 5th of 10 in the bucket from 0 to 1
        (0.5, (0, 10, 10, 10), 1.5),  # the 5th of 10 in the bucket from 1 to 2
        (0.5, (2, 6, 10, 10), 1.75),  # the 5th is the 3rd of 4 in the bucket from 1 to 2
        (0.99, (0, 90, 100, 100), 3.8),  # the 99th is the 9th of 10 in the bucket from 2 to 4
        (0.9, (9, 9, 10, 10), 1.0),  # the 9th is the last of the first bucket
        (0.99, (0, 0, 0, 10), 4.0),  # beyond the last bound only that is known
        (1.0, (0, 4, 4, 4), 2.0),
        (0.0, (0, 4, 4, 4), 0.0),  # as Prometheus has it: the first bucket that holds none or more
    ],
)
def test_a_quantile_is_what_prometheus_makes_of_the_buckets(share: float, counts: tuple[float, ...], expected: float):
    assert quantile(share, BOUNDS, counts) == pytest.approx(expected)


@pytest.mark.parametrize("counts", [(), (0, 0, 0, 0)])
def test_nothing_counted_has_no_quantile(counts: tuple[float, ...]):
    assert quantile(0.5, BOUNDS[: len(counts)], counts) is None


def test_a_point_is_what_happened_since_the_reading_before():
    metrics = Metrics()
    metrics.request("/rerank", "vllm", 200, 0.3)
    metrics.documents("memory", 100)
    history = a_history(metrics, queued=7, pending=9)
    history.read(10.0)
    assert history.points(10.0) == []
    # 8 requests in 4 s: 4 in the bucket up to 0.05, 4 in that up to 0.5; 10 of 40 documents were known.
    for status in (200, 200, 500, 503):
        metrics.request("/rerank", "vllm", status, 0.03)
    for status in (200, 429, 429, 429):
        metrics.request("/v1/rerank", "tei", status, 0.3)
    for source, count in (("worker", 28), ("memory", 4), ("redis", 3), ("coalesced", 2), ("duplicate", 1)):
        metrics.documents(source, count)  # type: ignore[arg-type]  # each is one of the sources
    metrics.documents("fallback", 1)
    metrics.documents("refused", 1)
    history.read(14.0)
    (point,) = history.points(15.5)
    assert point == Point(
        ago_s=1.5,
        requests=2.0,
        errors=0.5,
        shed=0.75,
        documents=10.0,
        p50_s=0.05,
        p99_s=0.25 + 0.25 * (7.92 - 4) / 4,
        hit_ratio=0.25,
        queued_documents=7,
        pending_documents=9,
    )


def test_a_quiet_time_has_points_without_quantiles_and_shares():
    history = a_history(Metrics())
    history.read(0.0)
    history.read(2.0)
    (point,) = history.points(2.0)
    assert (point.requests, point.documents, point.ago_s) == (0, 0, 0)
    assert (point.p50_s, point.p99_s, point.hit_ratio) == (None, None, None)


def test_five_minutes_are_kept_oldest_first_and_no_more_however_long_it_runs():
    metrics = Metrics()
    history = a_history(metrics)
    with traced_memory() as memory:
        for number in range(400):
            metrics.request("/rerank", "vllm", 200, 0.1)
            history.read(2.0 * number)
            if number == 200:
                full = memory.kept_bytes()
        assert memory.kept_bytes() - full < 5000
    points = history.points(798.0)
    assert [point.ago_s for point in points] == [2.0 * (149 - number) for number in range(150)]
    assert {point.requests for point in points} == {0.5}


def test_nothing_is_kept_while_nobody_may_see_it():
    wanted = False
    metrics = Metrics()
    history = History(metrics, queued_documents=lambda: 0, pending_documents=lambda: 0, is_wanted=lambda: wanted)
    history.read(0.0)
    history.read(2.0)
    assert history.points(2.0) == []
    wanted = True
    metrics.request("/rerank", "vllm", 200, 0.1)
    history.read(4.0)
    # What happened before it was wanted belongs to no point.
    assert history.points(4.0) == []
    history.read(6.0)
    assert [point.requests for point in history.points(6.0)] == [0]
    wanted = False
    history.read(8.0)
    assert history.points(8.0) == []


def test_a_reading_costs_less_than_a_thousandth_of_the_time_between_two():
    metrics = Metrics()
    for route in ("/rerank", "/v1/rerank", "/v2/rerank", "/score", "/v1/score"):
        for dialect in ("vllm", "cohere1", "cohere2", "tei", "voyage", "sglang", "score"):
            for status in (200, 400, 429, 499, 503):
                metrics.request(route, dialect, status, 0.1)
    history = a_history(metrics)
    history.read(0.0)
    took_s = []
    for number in range(1, 21):
        began = process_time()
        history.read(2.0 * number)
        took_s.append(process_time() - began)
    assert min(took_s) < 0.002
