from typing import Any

from app.policy.shedding import Load, Outlook, Shed, allowed_wait_s, shed

USUAL = Outlook(waiting=500, before=500, in_flight=0, per_s=1000.0, is_overload=False)


def shed_with(*, documents: int = 100, left_s: float = 25.0, **outlook: Any) -> Shed | None:
    return shed(USUAL._replace(**outlook), documents=documents, left_s=left_s, burst_s=5.0)


def test_a_request_that_can_be_done_in_time_is_let_in():
    assert shed_with() is None


def test_in_overload_the_queue_is_kept_shorter_than_after_a_burst():
    assert allowed_wait_s(is_overload=False, burst_s=5, own_s=0.01) == 5
    assert allowed_wait_s(is_overload=True, burst_s=5, own_s=0.01) == 0.25


def test_who_takes_long_may_wait_longer_but_never_longer_than_in_a_burst():
    assert allowed_wait_s(is_overload=True, burst_s=5, own_s=0.5) == 2
    assert allowed_wait_s(is_overload=True, burst_s=5, own_s=60) == 5


def test_nobody_is_shed_before_anybody_waits():
    assert shed_with(waiting=0, before=0, documents=10**6) is None


def test_nobody_is_shed_before_the_workers_speed_is_known():
    assert shed_with(waiting=10**6, before=10**6, per_s=None) is None


def test_too_long_a_wait_is_refused_until_the_queue_is_short_enough():
    assert shed_with(waiting=7000, before=7000) == Shed("queue", 2)


def test_what_would_end_after_its_deadline_is_refused_until_it_would_not():
    assert shed_with(waiting=3000, before=3000, documents=1000, left_s=1.5) == Shed("deadline", 2.5)


def test_what_the_workers_have_already_makes_a_request_late_but_is_no_queue():
    assert shed_with(in_flight=10_000) is None
    assert shed_with(in_flight=900, left_s=1.0) == Shed("deadline", 0.5)


def _overload_of(waiting: list[int]) -> bool:
    """What is told of a queue observed every 0.2 s."""
    load = Load()
    for tick, documents in enumerate(waiting):
        load.observe(documents, now=tick / 5)
    return load.is_overload


def test_a_queue_that_only_grows_is_overload():
    assert _overload_of(list(range(1, 12)))
    assert not _overload_of(list(range(1, 9)))


def test_a_burst_is_none_however_long_it_takes_to_be_served():
    assert not _overload_of([100, 5000, *range(4990, 3000, -60)])


def test_overload_lasts_until_the_queue_has_been_empty():
    growing = list(range(1, 12))
    assert _overload_of([*growing, *range(9, 0, -1), 1, 1])
    assert not _overload_of([*growing, 0, 5])


def test_a_queue_that_got_hardly_shorter_in_two_seconds_is_overload_too():
    for waiting, is_overload in ((95, False), (96, True)):
        load = Load()
        load.observe(100, now=0)
        load.observe(waiting, now=2)
        assert load.is_overload is is_overload


def test_in_overload_a_short_wait_is_refused_already():
    assert shed_with() is None
    assert shed_with(is_overload=True, per_s=500.0, documents=0) == Shed("queue", 0.75)
    assert shed_with(is_overload=True, per_s=500.0, documents=50) == Shed("queue", 0.6)


def test_what_would_be_just_in_time_is_let_in():
    assert shed_with(waiting=5000, before=5000) is None
    assert shed_with(waiting=5500, before=5500) == Shed("queue", 0.5)
    assert shed_with(waiting=6000, before=6000, documents=0, left_s=5.0) == Shed("queue", 1)


def test_what_is_still_to_come_makes_a_request_late_but_is_no_queue():
    assert shed_with(before=20_000) is None
    assert shed_with(documents=0, before=30_000) == Shed("deadline", 5)
    assert shed_with(waiting=0, before=30_000) is None
