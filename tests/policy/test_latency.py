from random import Random

import pytest

from app.policy.latency import Latencies, attempt_limit_s, stall_timeout_s


def test_nothing_is_known_before_enough_calls_were_seen():
    latencies = Latencies()
    for _ in range(19):
        latencies.record(100, 0.5)
    assert latencies.quantile(0.99, 100) is None
    latencies.record(100, 0.5)
    assert latencies.quantile(0.99, 100) == 0.5


def test_quantiles_are_those_of_the_recent_calls():
    latencies = Latencies()
    seconds = [number / 1000 for number in range(1, 201)]
    Random(1).shuffle(seconds)
    for value in seconds:
        latencies.record(100, value)
    assert latencies.quantile(0.5, 100) == pytest.approx(0.1)
    assert latencies.quantile(0.99, 100) == pytest.approx(0.198)
    for _ in range(200):
        latencies.record(100, 5.0)
    assert latencies.quantile(0.5, 100) == 5.0


def test_sizes_are_judged_apart():
    latencies = Latencies()
    for _ in range(20):
        latencies.record(100, 0.1)
        latencies.record(10_000, 9.0)
    assert latencies.quantile(0.99, 100) == 0.1
    assert latencies.quantile(0.99, 127) == 0.1
    assert latencies.quantile(0.99, 10_000) == 9.0


def test_a_size_never_seen_goes_by_the_nearest_bigger_one():
    latencies = Latencies()
    for _ in range(20):
        latencies.record(100, 0.1)
        latencies.record(10_000, 9.0)
    assert latencies.quantile(0.99, 1) == 0.1
    assert latencies.quantile(0.99, 1000) == 9.0


def test_a_size_beyond_all_that_were_seen_takes_in_proportion_longer_at_most():
    latencies = Latencies()
    for _ in range(20):
        latencies.record(100, 0.1)
    assert latencies.quantile(0.99, 200) == 0.2
    assert latencies.quantile(0.99, 800) == 0.8


def test_half_of_what_remains_is_kept_for_a_try_elsewhere():
    assert attempt_limit_s(left_s=20, p99_s=None) == 10
    assert attempt_limit_s(left_s=20, p99_s=100) == 10


def test_a_worker_counts_as_hung_only_after_what_is_usual_or_after_long():
    assert stall_timeout_s(None) == 5
    assert stall_timeout_s(0.01) == 1
    assert stall_timeout_s(2) == 10


def test_a_hung_worker_is_left_after_five_times_what_is_usual_but_never_in_haste():
    assert attempt_limit_s(left_s=20, p99_s=0.5) == 2.5
    assert attempt_limit_s(left_s=20, p99_s=0.001) == 1.0
