from collections import Counter
from random import Random

from app.policy.balance import load_factor, pick

LOADS = {"a": 3.0, "b": 1.0, "c": 2.0}


def test_the_least_loaded_is_taken():
    assert pick(["a", "b", "c"], load=LOADS.__getitem__, rng=Random(1)) == "b"


def test_equal_loads_are_spread_evenly():
    rng = Random(1)
    picked = Counter(pick("abcd", load=lambda _: 1.0, rng=rng) for _ in range(4000))
    assert all(900 < count < 1100 for count in picked.values())


def test_only_a_marked_difference_in_speed_weighs():
    assert load_factor(None, 1.0) == 1.0
    assert load_factor(3.0, None) == 1.0
    assert load_factor(1.9, 1.0) == 1.0
    assert load_factor(2.0, 1.0) == 2.0
    assert load_factor(3.0, 2.0) == 1.0
    assert load_factor(6.0, 2.0) == 3.0
