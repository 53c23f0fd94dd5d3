from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest

from app.tools.verify.compare import Comparison, Measured, Split, compare
from app.tools.verify.verdict import Verdict, groups, judge, recommended, split_kind
from app.types import Fingerprint

UNSPLIT = [[Random(seed).random() for _ in range(100)] for seed in range(3)]
SPEEDS = {8: [100.0] * 3, 16: [150.0] * 3, 32: [200.0] * 3, 64: [220.0] * 3, 128: [221.0] * 3}


def gap(largest: float) -> Comparison:
    return compare([[0.5, 0.1]], [[0.5 + largest, 0.1]])


def worker(
    name: str = "w1",
    *,
    noise: float = 0.0,
    splitting: float = 0.0,
    neighbours: float | None = 0.0,
    apart: float = 0.0,
    scale: float = 1.0,
    speeds: Mapping[int, Sequence[float]] = SPEEDS,
) -> Measured:
    """A worker whose splits all differ by `splitting`, and whose scores lie `apart` from those of the others."""
    return Measured(
        worker=name,
        fingerprint=Fingerprint("m", "/models/m", 512, "1", ""),
        unsplit=[[score * scale + apart for score in scores] for scores in UNSPLIT],
        repeated=gap(noise),
        shuffled=gap(splitting),
        neighbours=None if neighbours is None else gap(neighbours),
        alone=gap(splitting),
        splits={size: Split(gap(splitting), rounds) for size, rounds in speeds.items()},
    )


def verdict(*workers: Measured, **given: Any) -> Verdict:
    return judge(workers, **{"is_whole": False, "usual_max_batch": 64} | given)


@pytest.mark.parametrize(("noise", "splitting"), [(0.0, 0.0), (1.2e-7, 1.2e-7), (1.2e-7, 5e-6), (0.03, 0.05)])
def test_a_model_that_splitting_moves_no_more_than_repeats_or_float32_do_is_safe(noise: float, splitting: float):
    found = verdict(worker(noise=noise, splitting=splitting, neighbours=noise))
    assert (found.kind, found.max_batch, found.advice, found.needs_action) == ("safe", 64, "", False)


@pytest.mark.parametrize(("splitting", "name"), [(0.006, "float16"), (0.05, "bfloat16")])
def test_a_difference_that_precision_explains_is_told_and_needs_no_action(splitting: float, name: str):
    found = verdict(worker(noise=1e-4, splitting=splitting, neighbours=1e-4))
    assert (found.kind, found.max_batch, found.needs_action) == ("precision", 64, False)
    assert name in found.text


@pytest.mark.parametrize("splitting", [0.001, 0.02, 0.3])
def test_a_model_whose_scores_depend_on_neighbours_must_not_be_split_however_little_they_move(splitting: float):
    found = verdict(worker(noise=1e-7, splitting=splitting, neighbours=splitting / 2))
    assert (found.kind, found.max_batch, found.needs_action) == ("not_safe", None, True)
    assert "listwise" in found.text
    assert "kind: listwise" in found.advice


@pytest.mark.parametrize("neighbours", [None, 0.0])
def test_a_difference_beyond_all_precision_is_not_safe_whatever_its_cause(neighbours: float | None):
    found = verdict(worker(noise=1e-7, splitting=0.3, neighbours=neighbours))
    assert (found.kind, found.max_batch) == ("not_safe", None)
    assert "0.3" in found.text


def test_the_settings_may_know_already_that_a_model_is_listwise():
    found = verdict(worker(splitting=0.3, neighbours=0.3), is_whole=True)
    assert (found.kind, found.max_batch, found.needs_action) == ("listwise", None, False)
    assert "isn't needed" in verdict(worker(), is_whole=True).advice


def test_precision_is_measured_by_the_scale_of_the_scores():
    assert split_kind(worker(splitting=0.3)) == "not_safe"
    assert split_kind(worker(splitting=0.3, scale=12)) == "precision"
    assert split_kind(worker(splitting=3e-5)) == "precision"
    assert split_kind(worker(splitting=3e-5, scale=12)) == "safe"


def test_workers_that_differ_by_more_than_each_from_itself_are_named_with_the_cause():
    exact, rounded, other = worker("a"), worker("b", splitting=0.02, apart=0.02), worker("c", apart=0.4)
    found = verdict(exact, rounded)
    assert (found.kind, found.max_batch, found.needs_action) == ("workers_differ", 64, True)
    assert "b has other precision than a" in found.text
    assert "--dtype" in found.advice
    found = verdict(exact, other)
    assert "c has other weights than a" in found.text
    assert "--served-model-name" in found.advice


def test_workers_of_one_coarse_precision_agree():
    assert verdict(worker("a", splitting=0.03), worker("b", splitting=0.02, apart=0.05)).kind == "precision"


def test_the_larger_group_of_workers_is_the_standard():
    odd, *same = worker("a", apart=0.4), worker("b"), worker("c", apart=1e-7)
    assert [[one.worker for one in group] for group in groups([odd, *same])] == [["b", "c"], ["a"]]
    assert "a has other weights than b" in verdict(odd, *same).text


def test_a_listwise_model_on_workers_that_differ_is_told_from_its_splitting():
    workers = worker("a", splitting=0.3, neighbours=0.3), worker("b", splitting=0.3, neighbours=0.3, apart=0.2)
    assert verdict(*workers, is_whole=True).kind == "workers_differ"
    assert verdict(*workers).kind == "not_safe"


def test_one_worker_that_must_not_be_split_decides_for_all():
    assert verdict(worker("a"), worker("b", splitting=0.3, neighbours=0.3)).kind == "not_safe"


def test_the_fastest_size_is_recommended_when_it_is_clearly_faster():
    assert recommended([worker(speeds=SPEEDS | {128: [300.0] * 3})], 64) == 128
    assert recommended([worker(speeds=SPEEDS | {16: [900.0] * 3})], 64) == 16


def test_sizes_about_as_fast_as_the_fastest_give_way_to_the_usual():
    assert recommended([worker(speeds=SPEEDS | {128: [240.0] * 3})], 64) == 64
    # A size whose best round is as fast: noise, as far as anybody can tell.
    assert recommended([worker(speeds=SPEEDS | {64: [200.0, 290.0, 210.0], 128: [300.0] * 3})], 64) == 64
    assert recommended([worker(speeds={8: [100.0] * 3, 16: [99.0] * 3})], 64) == 16


def test_the_fleet_is_as_fast_as_its_workers_together():
    fast = worker("a", speeds={32: [100.0] * 3, 64: [400.0] * 3})
    slow = worker("b", speeds={32: [90.0] * 3, 64: [10.0] * 3})
    assert recommended([fast, slow], 32) == 64
