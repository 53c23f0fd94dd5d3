import pytest

from app.policy.pace import Pace


def test_a_burst_begins_at_once_and_what_comes_after_it_one_by_one():
    pace = Pace(per_s=100, burst=3)
    assert [pace.delay_s(0.0) for _ in range(5)] == pytest.approx([0, 0, 0, 0.01, 0.02])


def test_after_a_pause_there_is_room_for_one_burst_and_no_more():
    pace = Pace(per_s=100, burst=3)
    for _ in range(3):
        pace.delay_s(0.0)
    assert [pace.delay_s(60.0) for _ in range(4)] == pytest.approx([0, 0, 0, 0.01])
