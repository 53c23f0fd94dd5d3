from dataclasses import replace
from random import Random
from typing import Any

import pytest

from app.policy.check_verdict import CheckResult, Measured, Ordered, is_doubtful, judge
from app.policy.model_profile import Traits
from app.types import Kind

NOTHING = Traits()
# As a trained cross-encoder scores, which knows no other language.
RIGHT = Measured(
    english=[Ordered(0.99, 0.001), Ordered(0.8, 0.002), Ordered(0.95, 0.0001), Ordered(0.7, 0.01)],
    others={"german": Ordered(0.9, 0.2), "chinese": Ordered(0.5, 0.5)},
    elsewhere=0.99,
    itself=0.98,
    cut_pair=Ordered(0.9, 0.01),
    cut_document=Ordered(0.91, 0.011),
)


def test_a_model_that_puts_english_texts_in_order_is_not_suspect_and_ties_elsewhere_say_only_not_sure():
    assert judge(RIGHT, NOTHING) == CheckResult(
        learned=Traits(kind="cross_encoder", truncation="pair", score_scale="probability"),
        kept=4,
        asked=4,
        unsure_of=("chinese",),
    )


def test_scores_that_are_all_low_or_all_high_are_in_order_all_the_same():
    low = [Ordered(3e-4, 1e-5)] * 4
    high = [Ordered(0.9, 0.83)] * 4
    assert judge(replace(RIGHT, english=low), NOTHING).suspicion is None
    assert judge(replace(RIGHT, english=high), NOTHING).suspicion is None


@pytest.mark.parametrize(
    ("english", "reason"),
    [
        ([Ordered(0.5, 0.5)] * 8, "constant"),
        ([Ordered(0.5, 0.502), Ordered(0.503, 0.5)] * 4, "constant"),
        ([Ordered(-3.0, -3.0)] * 8, "constant"),
        ([Ordered(0.2, 0.6)] * 8, "order"),
        ([Ordered(-4.0, 2.5)] * 8, "order"),
        ([Ordered(0.2, 0.6)] * 5 + [Ordered(0.6, 0.2)] * 3, "order"),
        ([Ordered(0.6, 0.6)] * 5 + [Ordered(0.6, 0.2)] * 3, "order"),
        ([Ordered(9.0, 8.9)] * 4 + [Ordered(9.0, -1.0)] * 4, "order"),
        ([Ordered(0.2, 0.6)] * 3 + [Ordered(0.6, 0.2)] * 5, None),
    ],
)
def test_a_model_that_reverses_or_levels_half_of_english_is_suspect(english: list[Ordered], reason: str | None):
    found = judge(Measured(english=english), NOTHING)
    assert found.suspicion == reason
    assert (found.kept, found.asked) == (sum(one.right - one.wrong > 0.3 for one in english), 8)
    assert ("english" in found.unsure_of) == (reason is None)


def test_a_model_without_a_head_seldom_passes():
    rng = Random(1)
    passed = 0
    for _ in range(2000):
        first = Measured(english=[Ordered(rng.random(), rng.random()) for _ in range(4)])
        more = [Ordered(rng.random(), max(rng.random() for _ in range(2))) for _ in range(4)]
        whole = replace(first, english=[*first.english, *more]) if is_doubtful(first) else first
        passed += judge(whole, NOTHING).suspicion is None
    assert passed < 2000 * 0.3


def test_scores_that_are_no_numbers_are_suspect():
    assert judge(Measured(is_finite=False), NOTHING).suspicion == "not_finite"


def test_a_model_that_reads_what_stands_behind_the_document_has_its_documents_cut():
    # By chance, what is cut at the end is in order too.
    behind_template = replace(RIGHT, cut_pair=Ordered(0.6, 0.52), cut_document=Ordered(0.96, 0.3))
    found = judge(behind_template, NOTHING)
    assert (found.learned.kind, found.learned.truncation, found.suspicion) == ("template", "document", None)
    assert judge(replace(RIGHT, cut_pair=None), NOTHING).learned.truncation == "document"


def test_a_model_whose_pairs_keep_their_order_as_well_has_its_pairs_cut():
    as_far_apart = replace(RIGHT, cut_pair=Ordered(0.99, 0.2), cut_document=Ordered(0.9, 0.01))
    assert judge(as_far_apart, NOTHING).learned.truncation == "pair"
    assert judge(replace(RIGHT, cut_document=None), NOTHING).learned.truncation == "pair"


def test_a_model_for_which_neither_cut_keeps_the_order_is_left_as_it_is():
    found = judge(replace(RIGHT, cut_pair=Ordered(0.4, 0.5), cut_document=None), NOTHING)
    assert (found.learned.kind, found.learned.truncation, found.suspicion) == (None, None, None)
    assert "truncation" in found.unsure_of


@pytest.mark.parametrize(
    ("declared", "suspicion"),
    [
        (Traits(truncation="pair"), "truncation"),
        (Traits(kind="cross_encoder"), "truncation"),
        (Traits(truncation="document"), None),
        (Traits(kind="template"), None),
        (Traits(), None),
    ],
)
def test_a_declared_truncation_that_makes_nonsense_of_long_texts_is_suspect(declared: Traits, suspicion: str | None):
    behind_template = replace(RIGHT, cut_pair=Ordered(0.2, 0.5), cut_document=Ordered(0.96, 0.3))
    assert judge(behind_template, declared).suspicion == suspicion


@pytest.mark.parametrize(
    ("measured", "kind", "scale"),
    [
        ({"elsewhere": 0.8}, "listwise", "cosine"),
        ({"itself": 1.0, "english": [Ordered(0.8, -0.1)] * 4}, "bi_encoder", "cosine"),
        ({"itself": 1.0, "english": [Ordered(0.88, 0.71)] * 4, "elsewhere": 0.88}, "bi_encoder", "cosine"),
        ({"itself": 0.9999}, "cross_encoder", "probability"),
        ({"itself": 1.0, "english": [Ordered(1.0, 0.5)] * 4}, "cross_encoder", "probability"),
        ({"itself": 6.01, "english": [Ordered(5.5, 0.0)] * 4, "elsewhere": 5.5}, "late_interaction", "maxsim"),
        ({"itself": 7.3, "english": [Ordered(6.5, -9.1)] * 4, "elsewhere": 6.7}, "cross_encoder", "logit"),
    ],
)
def test_the_kind_and_the_scale_are_told_by_the_scores(measured: dict[str, Any], kind: Kind, scale: str):
    english = measured.get("english", RIGHT.english)
    beside = {"elsewhere": english[0].right}
    learned = judge(replace(RIGHT, **(beside | measured)), NOTHING).learned
    assert (learned.kind, learned.score_scale) == (kind, scale)


@pytest.mark.parametrize(
    "beyond",
    [
        {"english": [Ordered(1.5, 0.1)] * 4, "elsewhere": None},
        {"others": {"german": Ordered(2.0, 0.1)}},
        {"cut_pair": Ordered(2.0, 0.1)},
    ],
)
def test_one_score_beyond_one_anywhere_is_enough_to_tell_that_none_is_a_probability(beyond: dict[str, Any]):
    assert judge(replace(RIGHT, **beyond), NOTHING).learned.score_scale == "logit"


def test_a_model_that_keeps_all_of_english_in_order_leaves_no_doubt():
    assert not is_doubtful(RIGHT)
