"""A request is alone when no other was there for a while."""

from app.policy.lone_request import LoneRequest


def test_the_first_request_is_alone_with_all_its_pieces():
    lone_request = LoneRequest()
    for _ in range(3):
        lone_request.enter("one")
        assert lone_request.is_alone(10.0)


def test_with_another_it_is_not_and_not_for_a_second_after_it():
    lone_request = LoneRequest()
    lone_request.enter("one")
    lone_request.enter("other")
    assert not lone_request.is_alone(10.2)
    lone_request.leave("other", 15.0)
    assert not lone_request.is_alone(16.0)
    assert lone_request.is_alone(16.1)


def test_who_still_has_a_chunk_there_leaves_nobody_alone():
    lone_request = LoneRequest()
    lone_request.enter("one")
    lone_request.enter("other")
    lone_request.enter("other")
    lone_request.leave("other", 5.0)
    assert not lone_request.is_alone(9.0)


def test_where_nobody_is_nobody_is_alone():
    lone_request = LoneRequest()
    assert not lone_request.is_alone(0.0)
    lone_request.enter("one")
    lone_request.leave("one", 1.0)
    assert not lone_request.is_alone(9.0)
