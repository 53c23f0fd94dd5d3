from random import Random
from typing import Any

import pytest

from app.errors import (
    AttemptTimeout,
    BadAnswer,
    Busy,
    ClosedBeforeResponse,
    ClosedMidResponse,
    ContentRejected,
    Misconfigured,
    Unavailable,
    Unreachable,
)
from app.policy.retry import allows, is_free, is_try, objects_to_content, pause_s

FIRST: dict[str, Any] = {"tries": 1, "objections": 0, "another_worker": True, "max_attempts": 4}


@pytest.mark.parametrize(
    "kind", [Unreachable, ClosedBeforeResponse, ClosedMidResponse, AttemptTimeout, Unavailable, Busy, Misconfigured]
)
def test_what_can_succeed_later_is_tried_again_even_on_the_same_worker(kind):
    assert allows(kind("w"), **FIRST | {"another_worker": False})


def test_a_refusal_is_taken_to_a_second_worker_and_then_believed():
    assert allows(ContentRejected("w"), **FIRST | {"objections": 1})
    assert not allows(ContentRejected("w"), **FIRST | {"objections": 1, "another_worker": False})
    assert not allows(ContentRejected("w"), **FIRST | {"objections": 2})


def test_a_bad_answer_is_taken_to_every_other_worker_and_once_back_to_the_same():
    assert allows(BadAnswer("w"), **FIRST | {"objections": 3})
    assert allows(BadAnswer("w"), **FIRST | {"objections": 1, "another_worker": False})
    assert not allows(BadAnswer("w"), **FIRST | {"objections": 2, "another_worker": False})


@pytest.mark.parametrize("kind", [ClosedMidResponse, ContentRejected, BadAnswer])
def test_tries_are_limited(kind):
    assert not allows(kind("w"), **FIRST | {"tries": 4})


def test_only_what_cost_no_worker_any_work_is_free():
    assert is_free(Unreachable("w"))
    assert is_free(ClosedBeforeResponse("w"))
    assert not any(
        is_free(kind("w"))
        for kind in (ClosedMidResponse, Unavailable, Busy, AttemptTimeout, BadAnswer, ContentRejected)
    )


def test_a_refused_connection_is_no_try_but_one_that_died_under_the_call_is():
    assert not is_try(Unreachable("w"))
    assert is_try(ClosedBeforeResponse("w"))
    assert is_try(ClosedMidResponse("w"))


def test_refusals_and_bad_answers_may_be_the_documents_fault():
    assert objects_to_content(ContentRejected("w"))
    assert objects_to_content(BadAnswer("w"))
    assert not objects_to_content(Unavailable("w"))


def test_another_worker_is_tried_at_once():
    assert pause_s(tries=3, another_worker=True, rng=Random(1)) == 0


def test_pauses_are_drawn_from_a_growing_but_bounded_range():
    rng = Random(1)
    longest = [max(pause_s(tries=tries, another_worker=False, rng=rng) for _ in range(500)) for tries in range(8)]
    assert all(0.09 * 2**tries < longest[tries] <= 0.1 * 2**tries for tries in range(4))
    assert longest[7] <= 2
