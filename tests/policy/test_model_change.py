import struct
from math import exp

from hypothesis import assume, given
from hypothesis import strategies as st

from app.policy.model_change import Readings, same_weights

SCORES = st.lists(st.floats(0, 1), min_size=4, max_size=40)
NOISE = st.floats(-0.05, 0.05)
LOGITS = st.lists(st.floats(-20, 20), min_size=4, max_size=4)


def test_noise_of_low_precision_is_no_change():
    assert same_weights([0.9, 0.1, 0.5], [0.86, 0.14, 0.46])
    assert same_weights([0.05], [0.0])


def test_a_pair_that_stayed_is_not_enough_to_be_the_same():
    assert not same_weights([0.9, 0.1, 0.5], [0.1, 0.1, 0.9])
    assert not same_weights([0.97, 0.45, 0.40, 0.0], [0.57, 0.85, 0.80, 0.0])


def test_one_pair_that_moved_far_is_enough_to_be_others():
    assert not same_weights([0.9, 0.1, 0.5, 0.0], [0.9, 0.1, 0.61, 0.0])


def test_scores_that_all_moved_a_little_are_other_weights():
    assert not same_weights([0.9, 0.1, 0.5], [0.8, 0.2, 0.4])
    assert same_weights([0.9, 0.1, 0.5], [0.8, 0.2, 0.46])


def test_pairs_that_score_nothing_or_everything_with_both_tell_nothing():
    assert not same_weights([0.0, 1.0, 0.5, 0.3], [0.03, 0.98, 0.57, 0.37])
    assert same_weights([0.0, 1.0, 0.5, 0.01], [0.03, 0.98, 0.57, 0.04]), "one pair alone doesn't tell enough"
    assert same_weights([0.0, 1.0], [0.05, 0.95])
    assert not same_weights([0.0, 1.0], [1.0, 0.0])


def test_models_that_are_sure_of_all_pairs_look_alike():
    assert same_weights([0.9998, 0.0001, 0.00002, 0.00001], [0.97, 0.04, 0.02, 0.01])


def test_beyond_0_and_1_as_much_as_precision_moves_such_large_scores_is_no_change():
    assert same_weights([8.0, 2.0, -3.0, -11.0], [8.4, 1.5, -3.4, -10.5])
    assert not same_weights([8.0, 2.0, -3.0, -11.0], [6.5, 2.0, -3.0, -11.0])


@given(SCORES, st.data())
def test_the_same_weights_are_the_same_whatever_noise_moves_each_pair(scores: list[float], data: st.DataObject):
    noise = data.draw(st.lists(NOISE, min_size=len(scores), max_size=len(scores)))
    noisy = [min(1.0, max(0.0, score + off)) for score, off in zip(scores, noise, strict=True)]
    assert same_weights(scores, noisy)
    assert same_weights(noisy, scores)


@given(LOGITS, st.booleans())
def test_rounding_to_bfloat16_is_no_change(logits: list[float], has_activation: bool):  # noqa: FBT001 - hypothesis's
    rounded = [_bfloat16(logit) for logit in logits]
    both = [[_sigmoid(one) for one in each] if has_activation else each for each in (logits, rounded)]
    assert same_weights(*both)


@given(SCORES, st.data())
def test_weights_that_move_half_of_the_pairs_by_more_than_a_tenth_are_others(scores: list[float], data: st.DataObject):
    moved = data.draw(st.permutations(range(len(scores)))).copy()[: (len(scores) + 1) // 2]
    other = list(scores)
    for place in moved:
        other[place] = data.draw(st.floats(0, 1))
        assume(abs(other[place] - scores[place]) > 0.1001)
    assert not same_weights(scores, other)
    assert not same_weights(other, scores)


@given(SCORES)
def test_scores_are_told_by_the_first_that_these_weights_gave(scores: list[float]):
    readings = Readings()
    assert readings.first_of(scores) is scores
    near = [min(1.0, score + 0.04) for score in scores]
    assert readings.first_of(near) is scores


def test_weights_that_change_little_by_little_do_not_stay_the_same():
    readings = Readings()
    first = readings.first_of([0.2, 0.4, 0.5, 0.0])
    seen = [readings.first_of([0.2 + step / 50, 0.4 + step / 50, 0.5, 0.0]) for step in range(20)]
    assert seen[0] is seen[5] is first
    for step, anchor in enumerate(seen):
        assert abs(anchor[0] - (0.2 + step / 50)) < 0.1001


def test_of_several_that_fit_the_nearest_is_meant():
    readings = Readings()
    low, high = readings.first_of([0.2, 0.5]), readings.first_of([0.35, 0.5])
    assert low is not high
    assert readings.first_of([0.26, 0.5]) is low
    assert readings.first_of([0.29, 0.5]) is high


def test_a_worker_that_answers_anything_fills_no_memory():
    readings = Readings()
    first = readings.first_of([0.5, 0.5])
    given = [readings.first_of([1.5**number, 0.5]) for number in range(2, 1001)]
    assert readings.first_of([0.5, 0.51]) is not first
    # The latest first, since one that is no longer known drives another out.
    known = [scores for scores in reversed(given) if readings.first_of([*scores]) is scores]
    assert known == given[: -len(known) - 1 : -1]
    assert 0 < len(known) <= 32


def _bfloat16(value: float) -> float:
    """The nearest of the values that have the upper half of a float32's bits."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    nearest: float = struct.unpack("<f", struct.pack("<I", (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000))[0]
    return nearest


def _sigmoid(value: float) -> float:
    return 1 / (1 + exp(-value))
