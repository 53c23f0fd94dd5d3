"""Names that no worker serves: exact ones win over patterns, longer patterns over shorter ones."""

from time import perf_counter

import pytest

from app.settings import ModelSettings
from app.workers.model_names import ModelNames


def names(**models: list[str]) -> ModelNames:
    return ModelNames({model: ModelSettings(aliases=tuple(aliases)) for model, aliases in models.items()})


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("a", "a"),
        ("b", "b"),
        ("rerank-v3", "c"),
        ("rerank-v3.5", "b"),
        ("rerank-english-v3.0", "a"),
        ("rerank-", "b"),
        ("Rerank-v3.5", "d"),
        ("x", "d"),
        ("", "d"),
        ("line\nbreak", "d"),
    ],
)
def test_exact_names_win_over_patterns_and_longer_patterns_over_shorter_ones(name: str, model: str):
    # `rerank-*` stands before the longer one, and `*` before all.
    made = names(d=["*"], b=["rerank-*"], a=["rerank-*-v3.0"], c=["rerank-v3"])
    assert made.model_of(name) == model


def test_without_a_pattern_that_fits_a_name_means_nothing():
    made = names(a=["first", "b-*"])
    assert made.model_of("c") is None
    assert made.model_of("b") is None
    assert made.model_of("B-1") is None
    assert made.model_of("b-1") == "a"
    assert ModelNames({}).model_of("a") is None


def test_of_two_patterns_of_one_length_always_the_same_wins():
    for models in ({"a": ["x*y"], "b": ["*xy"]}, {"b": ["*xy"], "a": ["x*y"]}):
        assert names(**models).model_of("xxy") == "b"


@pytest.mark.parametrize("alias", ["a?c*", "a[bc]*", "a.c*", "a[!b]*", "a[*"])
def test_nothing_but_the_star_is_special_in_a_pattern(alias: str):
    made = names(model=[alias])
    assert made.model_of(alias.replace("*", "-1")) == "model"
    assert made.model_of("abc-1") is None


def test_a_long_name_takes_no_long_time():
    made = names(model=["*a*a*a*a*a*a*b"])
    began = perf_counter()
    assert made.model_of("a" * 200_000) is None
    assert perf_counter() - began < 2
