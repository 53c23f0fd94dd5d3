import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.forecast import Arrivals, documents_before, documents_in_flight


def _steady(per_s: int, seconds: int) -> Arrivals:
    arrivals = Arrivals()
    for tenth in range(10 * seconds):
        arrivals.record(per_s // 10, now=1000 + tenth / 10)
    return arrivals


def test_before_anything_came_nothing_keeps_coming():
    assert Arrivals().per_s(0.0) == 0


def test_a_steady_stream_counts_as_what_it_is():
    assert _steady(200, 5).per_s(1005.0) == 200


def test_a_stream_counts_when_it_has_lasted_for_three_seconds_and_no_longer_when_a_second_brought_nothing():
    assert _steady(200, 2).per_s(1002.0) == 0
    assert _steady(200, 3).per_s(1003.0) == 200
    assert _steady(200, 5).per_s(1005.9) == 200
    assert _steady(200, 5).per_s(1006.0) == 0


def test_a_burst_is_no_stream():
    arrivals = Arrivals()
    arrivals.record(10_000, now=1000)
    assert [arrivals.per_s(now) for now in (1000, 1001, 1002, 1003, 1e6)] == [0] * 5


def test_a_burst_beside_a_stream_is_no_part_of_it():
    arrivals = _steady(30, 3)
    arrivals.record(10_000, now=1002.9)
    assert arrivals.per_s(1003.0) == 30


def test_without_a_stream_only_what_waits_is_before_a_request():
    assert documents_before(documents=1000, waiting=256, most=8000, arriving_per_s=0, per_s=1000) == 256


def test_clients_that_send_when_they_have_their_answer_leave_a_request_its_share():
    assert documents_before(documents=1000, waiting=256, most=8000, arriving_per_s=1000, per_s=1000) == 8000


def test_a_stream_that_the_workers_can_carry_makes_a_request_as_much_longer_as_it_takes_of_them():
    """As for one server that everybody shares: a request takes 1 / (1 - load) times as long as by itself."""
    assert documents_before(documents=1000, waiting=0, most=10**6, arriving_per_s=500, per_s=1000) == 1000
    assert documents_before(documents=1000, waiting=0, most=10**6, arriving_per_s=900, per_s=1000) == pytest.approx(
        9000
    )


@given(st.integers(1, 10**4), st.integers(0, 10**4), st.integers(0, 10**6), st.integers(0, 2000))
def test_it_is_never_less_than_what_waits_nor_more_than_fair_shares_let_pass(documents, waiting, more, arriving):
    before = documents_before(
        documents=documents, waiting=waiting, most=waiting + more, arriving_per_s=arriving, per_s=1000.0
    )
    assert waiting - 1e-6 <= before <= waiting + more


def test_of_what_each_worker_works_on_half_is_done_and_of_what_queues_there_nothing():
    assert documents_in_flight(documents=0, calls=0, workers=2) == 0
    assert documents_in_flight(documents=32, calls=1, workers=2) == 16
    assert documents_in_flight(documents=64, calls=2, workers=2) == 32
    assert documents_in_flight(documents=64, calls=8, workers=2) == 56
