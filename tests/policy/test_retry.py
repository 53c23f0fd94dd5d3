from random import Random

import pytest

from app.errors import BadAnswer, Dropped, Misconfigured, Refused, Unavailable, Unreachable
from app.policy.retry import allows, is_free, pause_s


@pytest.mark.parametrize("kind", [Unreachable, Dropped, Unavailable, BadAnswer, Misconfigured])
def test_what_another_worker_may_do_better_is_tried_again(kind):
    assert allows(kind("w"), tries=1, max_attempts=4)


def test_what_is_refused_for_its_content_is_not_tried_again():
    assert not allows(Refused("w"), tries=1, max_attempts=4)


def test_tries_are_limited():
    assert not allows(Dropped("w"), tries=4, max_attempts=4)


def test_only_what_cost_no_worker_any_work_is_free():
    assert is_free(Unreachable("w"))
    assert not any(is_free(kind("w")) for kind in (Dropped, Unavailable, BadAnswer, Misconfigured, Refused))


def test_another_worker_is_tried_at_once():
    assert pause_s(tries=3, another_worker=True, rng=Random(1)) == 0


def test_pauses_are_drawn_from_a_growing_but_bounded_range():
    rng = Random(1)
    longest = [max(pause_s(tries=tries, another_worker=False, rng=rng) for _ in range(500)) for tries in range(8)]
    assert all(0.09 * 2**tries < longest[tries] <= 0.1 * 2**tries for tries in range(4))
    assert longest[7] <= 2
