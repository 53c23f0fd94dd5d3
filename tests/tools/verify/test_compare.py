from itertools import combinations
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.rank import rank
from app.tools.verify.compare import compare, kendall_tau, worst

# Few values, so that there are many ties.
SCORES = st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0]) | st.floats(-20, 20)
TWICE = st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=40)
LISTS = st.lists(TWICE, min_size=1, max_size=4)


def tau_by_definition(one: list[float], other: list[float]) -> float:
    """All pairs, one by one (Kendall 1945)."""
    signs = [(sign(one[i] - one[j]), sign(other[i] - other[j])) for i, j in combinations(range(len(one)), 2)]
    untied_one, untied_other = sum(a != 0 for a, _ in signs), sum(b != 0 for _, b in signs)
    if not untied_one or not untied_other:
        return 1.0 if untied_one == untied_other else 0.0
    return sum(a * b for a, b in signs) / sqrt(untied_one * untied_other)


def sign(value: float) -> int:
    return (value > 0) - (value < 0)


def swaps_by_definition(one: list[float], other: list[float]) -> int:
    first, second = rank(one, None), rank(other, None)
    return sum(
        (first.index(i) < first.index(j)) != (second.index(i) < second.index(j))
        for i, j in combinations(range(len(one)), 2)
    )


@given(TWICE)
def test_kendalls_tau_is_what_counting_all_pairs_gives(pairs):
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    assert kendall_tau(one, other) == pytest.approx(tau_by_definition(one, other), abs=1e-12)


@given(TWICE)
def test_kendalls_tau_is_the_same_both_ways_and_1_with_itself(pairs):
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    assert kendall_tau(one, other) == pytest.approx(kendall_tau(other, one), abs=1e-12)
    assert kendall_tau(one, one) == pytest.approx(1)
    assert -1 - 1e-12 <= kendall_tau(one, other) <= 1 + 1e-12


@given(TWICE)
def test_swaps_are_the_pairs_that_two_rankings_order_otherwise(pairs):
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    assert compare([one], [other]).swaps == swaps_by_definition(one, other)


@given(LISTS)
def test_lists_are_compared_each_by_itself_and_counted_together(lists):
    ones, others = [[a for a, _ in pairs] for pairs in lists], [[b for _, b in pairs] for pairs in lists]
    each = [compare([one], [other]) for one, other in zip(ones, others, strict=True)]
    found = compare(ones, others)
    assert found.documents == sum(map(len, ones))
    assert found.largest == max(one.largest for one in each)
    assert found.mean == pytest.approx(sum(one.mean * one.documents for one in each) / found.documents)
    assert (found.pairs, found.swaps, found.top_10) == tuple(
        sum(getattr(one, name) for one in each) for name in ("pairs", "swaps", "top_10")
    )
    assert found.tau == min(one.tau for one in each)


@given(TWICE)
def test_nothing_differs_from_itself(pairs):
    one = [a for a, _ in pairs]
    found = compare([one], [one])
    assert (found.largest, found.mean, found.swaps, found.top_10) == (0, 0, 0, 0)


def test_the_opposite_order_swaps_all_pairs():
    found = compare([[0.1, 0.2, 0.3, 0.4]], [[0.4, 0.3, 0.2, 0.1]])
    assert (found.swaps, found.pairs, found.tau) == (6, 6, -1)


def test_the_top_ten_are_compared_as_sets():
    scores = [1 - index / 100 for index in range(20)]
    inside = [scores[1], scores[0], *scores[2:]]
    across = [*scores[:9], scores[10], scores[9], *scores[11:]]
    assert compare([scores], [inside]).top_10 == 0
    assert compare([scores], [across]).top_10 == 1
    assert compare([scores], [inside]).swaps == compare([scores], [across]).swaps == 1


def test_equal_scores_that_part_are_no_tie_any_more():
    assert compare([[0.5, 0.5]], [[0.5, 0.6]]).swaps == 1
    assert compare([[0.5, 0.5]], [[0.6, 0.5]]).swaps == 0
    assert kendall_tau([0.5, 0.5], [0.5, 0.6]) == 0


def test_the_worst_has_the_largest_difference():
    near, far = compare([[0.1]], [[0.11]]), compare([[0.1]], [[0.3]])
    assert worst([near, far]) == worst([far, near]) == far
