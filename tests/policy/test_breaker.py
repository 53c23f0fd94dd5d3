from hypothesis import given
from hypothesis import strategies as st

from app.policy.breaker import Breaker, State


def _closed() -> Breaker:
    breaker = Breaker()
    breaker.begin_probe()
    breaker.close()
    return breaker


def _report(breaker: Breaker, results: str) -> list[bool]:
    """`x` for a failure, `.` for a success."""
    return [breaker.report(failed=result == "x", generation=breaker.generation) for result in results]


def test_a_new_breaker_is_open_and_its_probe_is_due():
    breaker = Breaker()
    assert breaker.state is State.OPEN
    assert breaker.probe_at < 0


def test_three_failures_in_a_row_are_too_many():
    assert _report(_closed(), "xx.xxx") == [False, False, False, False, False, True]
    assert _report(_closed(), "....xxx")[-1]


def test_every_second_call_failing_is_too_much():
    assert _report(_closed(), ".x" * 10)[-1]
    assert not any(_report(_closed(), "..x" * 20))


def test_only_a_probe_leads_back():
    breaker = _closed()
    breaker.trip(now=10)
    assert breaker.probe_at == 11
    states = [breaker.state]
    breaker.begin_probe()
    states.append(breaker.state)
    breaker.close()
    assert [*states, breaker.state] == [State.OPEN, State.HALF_OPEN, State.CLOSED]


def test_a_failed_probe_opens_again():
    breaker = _closed()
    breaker.trip(now=10)
    breaker.begin_probe()
    breaker.trip(now=12)
    assert (breaker.state, breaker.probe_at) == (State.OPEN, 13)


def test_a_probe_of_a_closed_breaker_changes_nothing():
    breaker = _closed()
    generation = breaker.generation
    breaker.begin_probe()
    breaker.close()
    assert (breaker.state, breaker.generation) == (State.CLOSED, generation)


def test_late_results_are_discarded():
    breaker = _closed()
    late = breaker.generation
    breaker.trip(now=10)
    breaker.begin_probe()
    breaker.close()
    assert not any(breaker.report(failed=True, generation=late) for _ in range(10))


def test_a_flapping_worker_is_left_alone_ever_longer():
    breaker = _closed()
    pauses = []
    now = 0.0
    for _ in range(5):
        now += 2
        breaker.trip(now)
        pauses.append(breaker.probe_at - now)
        breaker.begin_probe()
        breaker.close()
    assert pauses == [1, 2, 4, 4, 4]
    breaker.trip(now + 30)
    assert breaker.probe_at == now + 31


def test_a_suspended_worker_is_probed_at_once():
    breaker = _closed()
    breaker.suspend(now=10)
    assert (breaker.state, breaker.probe_at) == (State.OPEN, 10)


def test_a_suspension_during_a_probe_has_it_made_again():
    breaker = _closed()
    breaker.trip(now=10)
    breaker.begin_probe()
    probed = breaker.generation
    breaker.suspend(now=12)
    assert (breaker.state, breaker.probe_at) == (State.OPEN, 12)
    assert breaker.generation > probed


def test_a_suspension_shortens_no_pause():
    breaker = _closed()
    breaker.trip(now=10)
    breaker.suspend(now=10.1)
    assert breaker.probe_at == 11


def test_failures_before_a_suspension_count_on():
    breaker = _closed()
    results = []
    for now in range(3):
        results += _report(breaker, "x")
        breaker.suspend(now)
        breaker.begin_probe()
        breaker.close()
    assert results == [False, False, True]


def test_suspensions_make_no_pause_longer_but_a_failed_probe_after_one_is_a_trip():
    breaker = _closed()
    for now in range(5):
        breaker.suspend(now)
        breaker.begin_probe()
        breaker.close()
    breaker.suspend(now=5)
    breaker.begin_probe()
    breaker.trip(now=6)
    assert breaker.probe_at == 7
    breaker.begin_probe()
    breaker.close()
    breaker.suspend(now=8)
    breaker.begin_probe()
    breaker.trip(now=9)
    assert breaker.probe_at == 11


@given(st.lists(st.sampled_from(["trip", "suspend", "begin_probe", "close", "x", "."]), max_size=60))
def test_every_change_of_state_begins_a_new_generation(steps):
    breaker = Breaker()
    for now, step in enumerate(steps):
        before = (breaker.state, breaker.generation)
        if step in {"x", "."}:
            breaker.report(failed=step == "x", generation=breaker.generation)
        elif step in {"trip", "suspend"}:
            getattr(breaker, step)(now)
        else:
            getattr(breaker, step)()
        assert breaker.generation > before[1] if breaker.state is not before[0] else breaker.generation >= before[1]
