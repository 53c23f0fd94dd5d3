"""The simulation finds nothing: a fixed set of seeds, all that it once found, and whether it would find anything."""

import pytest

from tests.simulation import faults
from tests.simulation.campaign import Finding, Tally, how_it_breaks, look_at, short
from tests.simulation.draw import draw
from tests.simulation.faults import wire
from tests.simulation.found import FOUND
from tests.simulation.plan import Ask, Fault, Plan, WorkerSpec, written
from tests.simulation.story import told
from tests.simulation.world import run

_SEEDS = 300
_AT_ONCE = 30
_BATCHES = range(0, _SEEDS, _AT_ONCE)
# As many as `make test` has time for; the others are in `make test-long`.
_SOON_RUN = 4
# Faults that a few seeds tell, and the seeds to try.
_SOON_FOUND = (
    "freed-slot-wakes-nobody",
    "coalesced-scores-reversed",
    "unwanted-computation-goes-on",
    "recovery-told-to-nobody",
    "documents-stay-pending",
    "bytes-stay-charged",
    "given-up-call-stays-connected",
    "last-part-of-an-answer-counts",
)
_SOON = 60


@pytest.mark.parametrize(
    "first", [*_BATCHES[:_SOON_RUN], *(pytest.param(first, marks=pytest.mark.long) for first in _BATCHES[_SOON_RUN:])]
)
def test_no_seed_breaks_a_promise(first: int):
    found = [finding for seed in range(first, first + _AT_ONCE) if (finding := look_at(draw(seed), Tally()))]
    assert not found, f"python -m tests.simulation --replay {found[0].seed}"


def test_about_one_seed_in_eight_reaches_workers_over_a_network():
    assert _SEEDS / 12 < sum(draw(seed).is_over_network for seed in range(_SEEDS)) < _SEEDS / 6


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found_once_is_not_found_again(what: str):
    assert look_at(FOUND[what], Tally()) is None


@pytest.mark.parametrize("name", _SOON_FOUND)
def test_a_planted_fault_is_found(name: str):
    plans = (plan for plan in map(draw, range(_SOON)) if plan.is_over_network or name not in wire.FAULTS)
    with faults.planted(name):
        assert any(look_at(plan, Tally()) for plan in plans)


@pytest.mark.parametrize("seed", [2, 4, 46])
def test_a_seed_makes_the_same_story_each_time(seed: int):
    first, second = (run(draw(seed)) for _ in range(2))
    assert told(first, "", "") == told(second, "", "")


def test_a_plan_is_written_as_python_that_makes_it_again():
    plan = draw(3)
    names = {kind.__name__: kind for kind in {type(event) for event in plan.events}}
    assert eval(written(plan), {**names, "Plan": Plan, "WorkerSpec": WorkerSpec, "Ask": Ask}) == plan  # noqa: S307 - what we wrote


def test_a_failure_is_shrunk_to_what_it_needs():
    plan = Plan(
        seed=1,
        workers=(WorkerSpec(name="w1"), WorkerSpec(name="w2"), WorkerSpec(name="w3")),
        events=(
            *(Ask(at=0.1 * n, first=100 * n, documents=30) for n in range(10)),
            Fault(at=0.3, worker="w2", kind="slow", amount=3.0, lasts_s=2.0),
        ),
    )
    with faults.planted("documents-stay-pending"):
        finding = look_at(plan, Tally())
        assert isinstance(finding, Finding)
        smallest = short(plan, finding)
        assert how_it_breaks(smallest, finding)
    assert len(smallest.events) <= 1
    assert len(smallest.workers) == 1
