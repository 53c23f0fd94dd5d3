import pytest

from app.policy.throughput import Throughput


def test_nothing_is_known_while_nobody_waits():
    throughput = Throughput()
    for number in range(100):
        throughput.record(documents=10, workers=2, is_saturated=False, now=number)
    assert throughput.per_s(2) is None


def test_the_rate_under_saturation_scales_with_the_workers():
    throughput = Throughput()
    for number in range(100):
        throughput.record(documents=50, workers=2, is_saturated=True, now=number / 10)
    assert throughput.per_s(2) == pytest.approx(500, rel=0.1)
    assert throughput.per_s(1) == pytest.approx(250, rel=0.1)


def test_idle_time_is_not_counted():
    throughput = Throughput()
    for number in range(20):
        throughput.record(documents=50, workers=1, is_saturated=True, now=number / 10)
    throughput.record(documents=50, workers=1, is_saturated=False, now=2.0)
    throughput.record(documents=50, workers=1, is_saturated=True, now=500.0)
    assert throughput.per_s(1) == pytest.approx(500, rel=0.2)


def test_the_first_moments_of_a_burst_say_nothing():
    throughput = Throughput()
    for number in range(10):
        throughput.record(documents=1, workers=5, is_saturated=True, now=number / 10)
    assert throughput.per_s(5) is None


def test_time_without_workers_is_not_counted():
    throughput = Throughput()
    for number in range(20):
        throughput.record(documents=50, workers=1, is_saturated=True, now=number / 10)
    throughput.interrupt()
    throughput.record(documents=50, workers=1, is_saturated=True, now=30.0)
    assert throughput.per_s(1) == pytest.approx(500, rel=0.2)


def test_one_second_of_saturation_is_enough_to_tell():
    throughput = Throughput()
    for now in (0, 1):
        throughput.record(documents=50, workers=1, is_saturated=True, now=now)
    assert throughput.per_s(1) == 50
    many = Throughput()
    for number in range(11):
        many.record(documents=5, workers=1, is_saturated=True, now=number / 10)
    assert many.per_s(1) is None


def test_what_was_long_ago_fades():
    throughput = Throughput()
    for number in range(100):
        throughput.record(documents=100, workers=1, is_saturated=True, now=number / 10)
    for number in range(60):
        throughput.record(documents=100, workers=1, is_saturated=True, now=10 + number)
    assert throughput.per_s(1) == pytest.approx(100, rel=0.05)


def test_saturation_without_workers_says_nothing():
    throughput = Throughput()
    for now in range(5):
        throughput.record(documents=0, workers=0, is_saturated=True, now=now)
    assert throughput.per_s(1) is None
