"""Bytes held for clients: how much a key may hold beside others, and what becomes of answers that aren't read."""

import pytest

from app.api.bytes_in_flight import BytesInFlight
from app.errors import Overloaded

MIB = 2**20


def most(held: BytesInFlight, key: str) -> int:
    """How many more bodies of 1 MiB a key may hold."""
    for taken in range(10_000):
        try:
            held.take(key, MIB, own_bytes=0)
        except Overloaded:
            return taken
    raise AssertionError("no end")


def test_a_key_without_others_may_hold_everything():
    held = BytesInFlight(512 * MIB, has_several_keys=lambda: False)
    assert most(held, "only") == 512


def test_a_key_beside_others_leaves_them_half_and_each_that_comes_a_part_of_the_rest():
    held = BytesInFlight(512 * MIB, has_several_keys=lambda: True)
    assert [most(held, key) for key in "abcd"] == [256, 128, 64, 32]


@pytest.mark.parametrize("keys", ["ab", "abc", "abcdefg"])
def test_keys_that_want_more_than_they_get_hold_the_same_in_the_end(keys: str):
    held = BytesInFlight(512 * MIB, has_several_keys=lambda: True)
    holds = {key: most(held, key) for key in keys}
    # Bodies end one after the other, whoever came first, and each key always has more.
    for _ in range(2000):
        for key in keys:
            held.give_back(key, MIB)
            holds[key] += most(held, key) - 1
    assert max(holds.values()) - min(holds.values()) <= 1
    assert min(holds.values()) >= 512 // (len(keys) + 1)


def test_the_only_body_of_a_key_needs_no_share_and_may_grow_while_there_is_room():
    held = BytesInFlight(10 * MIB, has_several_keys=lambda: True)
    for own in range(10):
        held.take("a", MIB, own_bytes=own * MIB)
    with pytest.raises(Overloaded):
        held.take("a", 1, own_bytes=10 * MIB)


def test_what_is_given_back_can_be_taken_again():
    held = BytesInFlight(10, has_several_keys=lambda: False)
    held.take("a", 10, own_bytes=0)
    held.give_back("a", 10)
    held.take("b", 10, own_bytes=0)
    assert held.held == 10


def test_unread_answers_leave_less_for_bodies_of_their_key_and_nothing_less_for_others():
    held = BytesInFlight(100 * MIB, has_several_keys=lambda: True)
    with held.unread("a", 50 * MIB, lambda: None):
        assert most(held, "a") == 0
        assert most(held, "b") == 25
    assert held.held == 25 * MIB
    assert most(held, "a") == 37


def test_of_a_keys_answers_that_are_too_many_the_one_read_for_longest_is_given_up():
    held, given_up = BytesInFlight(100, has_several_keys=lambda: True), list[str]()
    with (
        held.unread("b", 20, lambda: given_up.append("another key's")),
        held.unread("a", 20, lambda: given_up.append("first")),
        held.unread("a", 15, lambda: given_up.append("second")),
    ):
        assert not given_up
        with held.unread("a", 20, lambda: given_up.append("third")):
            assert given_up == ["first"]
            assert held.held == 55
    assert held.held == 0


def test_an_answer_longer_than_all_that_may_be_held_is_counted_and_sent():
    held, given_up = BytesInFlight(100, has_several_keys=lambda: True), list[str]()
    with held.unread("a", 10, lambda: given_up.append("first")), held.unread("a", 200, lambda: given_up.append("long")):
        assert given_up == ["first"]
        assert held.held == 200
    assert held.held == 0
