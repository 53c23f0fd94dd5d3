from collections import Counter
from random import Random

from app.policy.balance import Neighbours, load_factor, pick

LOADS = {"a": 3.0, "b": 1.0, "c": 2.0}


def test_the_least_loaded_is_taken():
    assert pick(["a", "b", "c"], load=LOADS.__getitem__, rng=Random(1)) == "b"


def test_equal_loads_are_spread_evenly():
    rng = Random(1)
    picked = Counter(pick("abcd", load=lambda _: 1.0, rng=rng) for _ in range(4000))
    assert all(900 < count < 1100 for count in picked.values())


def test_a_few_are_compared_all_and_each_of_very_many_as_often_as_another():
    neighbours = Neighbours(Random(1))
    assert neighbours.among("abc", 0.0) == "abc"
    drawn = [neighbours.among(range(320), float(second)) for second in range(4000)]
    assert all(len({*one}) == 32 for one in drawn)
    times = Counter(worker for one in drawn for worker in one)
    assert all(300 < times[worker] < 500 for worker in range(320))


def test_the_same_of_very_many_are_compared_for_a_second_unless_told_otherwise():
    neighbours = Neighbours(Random(1))
    first = neighbours.among(range(1000), 0.0)
    assert neighbours.among(range(1000), 0.99) == first
    assert neighbours.among(range(1000), 1.0) != first
    before = neighbours.among(range(1000), 1.5)
    neighbours.move(1.5)
    assert neighbours.among(range(1000), 1.5) != before


def test_only_a_marked_difference_in_speed_weighs():
    assert load_factor(None, 1.0) == 1.0
    assert load_factor(3.0, None) == 1.0
    assert load_factor(1.9, 1.0) == 1.0
    assert load_factor(2.0, 1.0) == 2.0
    assert load_factor(3.0, 2.0) == 1.0
    assert load_factor(6.0, 2.0) == 3.0
