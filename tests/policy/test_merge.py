"""Scores of parts go back to where their pairs stood."""

import math
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ContentRejected
from app.policy.merge import expand, merge
from app.types import Answer

ERROR = ContentRejected("w refused it")


def _answer(whole: Answer, places: list[int], tokens: int) -> Answer:
    """What a worker says of the pairs at `places`."""
    refused = {index: whole.refused[place] for index, place in enumerate(places) if place in whole.refused}
    return Answer([whole.scores[place] for place in places], tokens, refused)


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 6), st.randoms(use_true_random=False))
def test_however_pairs_are_dealt_out_each_gets_its_own_score_or_refusal(fates: list[bool], parts: int, chance: Random):
    errors = {place: ContentRejected(f"{place}") for place, is_refused in enumerate(fates) if is_refused}
    whole = Answer([-1.0 if place in errors else float(place) for place in range(len(fates))], parts, errors)
    places = list(range(len(fates)))
    chance.shuffle(places)
    dealt = [places[part::parts] for part in range(parts)]
    assert merge([(part, _answer(whole, part, 1)) for part in dealt], len(fates)) == whole


def test_the_answer_of_one_call_for_all_pairs_is_handed_on_as_it_is():
    answer = Answer([0.5, 0.25], 7)
    assert merge([(range(2), answer)], 2) is answer


def test_the_score_of_a_refused_pair_stays_no_number():
    merged = merge([([1], Answer([math.nan], 0, {0: ERROR})), ([0, 2], Answer([0.5, 0.25], 7))], 3)
    assert math.isnan(merged.scores[1])
    assert (merged.scores[0], merged.scores[2], merged.tokens, merged.refused) == (0.5, 0.25, 7, {1: ERROR})


@pytest.mark.parametrize("places", [[0, 1], range(2)])
def test_a_part_with_fewer_scores_than_places_is_not_taken(places: Sequence[int]):
    with pytest.raises(ValueError, match="zip"):
        merge([(places, Answer([0.5], 1))], 2)


@given(st.lists(st.integers(0, 4), max_size=20))
def test_repeated_pairs_get_the_score_or_refusal_of_the_one_that_was_scored(positions: list[int]):
    answer = Answer([0.0, 0.1, 0.2, 0.3, 0.4], 9, {3: ERROR})
    expanded = expand(answer, positions)
    assert expanded.scores == [answer.scores[place] for place in positions]
    assert expanded.refused == {index: ERROR for index, place in enumerate(positions) if place == 3}
    assert expanded.tokens == 9
