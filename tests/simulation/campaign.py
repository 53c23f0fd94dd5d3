"""Many seeds, over several processes."""

import gc
import multiprocessing
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, takewhile
from typing import NamedTuple

from pydantic import ValidationError

from tests.simulation import faults
from tests.simulation.draw import draw
from tests.simulation.invariants import INVARIANTS, broken
from tests.simulation.plan import Plan
from tests.simulation.shrink import shrunk
from tests.simulation.story import told
from tests.simulation.world import run

_SEEDS_AT_ONCE = 20
_NUMBERS = re.compile(r"[rwd]?[0-9]+([.][0-9]+)?|(, )?[rw]#")


class Finding(NamedTuple):
    """A seed that breaks a promise."""

    seed: int
    promise: str
    sentence: str


@dataclass(slots=True)
class Tally:
    """What was run so far."""

    seeds: int = 0
    requests: int = 0
    virtual_s: float = 0.0

    def add(self, other: "Tally") -> None:
        """Count what another process ran."""
        self.seeds += other.seeds
        self.requests += other.requests
        self.virtual_s += other.virtual_s


def look_at(plan: Plan, stats: Tally) -> Finding | None:
    """Run one plan; the first promise that it breaks."""
    outcome = run(plan)
    stats.seeds += 1
    stats.requests += len(outcome.record.requests)
    stats.virtual_s += outcome.took_s
    found = broken(outcome)
    return Finding(plan.seed, *found) if found else None


def search(
    first: int, *, seeds: int | None, for_s: float | None, jobs: int, fault: str | None
) -> Iterator[tuple[Tally, list[Finding]]]:
    """Run seed after seed, until there are no more or the time is over; what was found in each batch.

    Args:
        first: The first seed.
        seeds: How many; None for as many as there is time for.
        for_s: Seconds after which no new batch begins; None for no limit.
        jobs: Processes.
        fault: A fault that is planted in the gateway.
    """
    until = None if for_s is None else time.monotonic() + for_s
    numbers = count(first, _SEEDS_AT_ONCE) if seeds is None else range(first, first + seeds, _SEEDS_AT_ONCE)
    last = None if seeds is None else first + seeds
    batches = (
        (number, number + _SEEDS_AT_ONCE if last is None else min(last, number + _SEEDS_AT_ONCE), fault)
        for number in takewhile(lambda _: until is None or time.monotonic() < until, numbers)
    )
    if jobs == 1:
        yield from map(_batch, batches)
        return
    context = multiprocessing.get_context("fork")
    with context.Pool(jobs, initializer=_freeze) as pool:
        # Only so many are asked for at once as are worked on: else a time limit would come too late.
        for several in iter(lambda: [*_some(batches, 4 * jobs)], []):
            yield from pool.imap_unordered(_batch, several)


def _some(batches: Iterator[tuple[int, int, str | None]], most: int) -> Iterator[tuple[int, int, str | None]]:
    for _ in range(most):
        batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _freeze() -> None:
    """What is loaded stays: looking for garbage in it takes longer than a run."""
    gc.collect()
    gc.freeze()


def _batch(batch: tuple[int, int, str | None]) -> tuple[Tally, list[Finding]]:
    first, end, fault = batch
    stats, findings = Tally(), list[Finding]()
    with faults.planted(fault):
        for seed in range(first, end):
            finding = look_at(draw(seed), stats)
            if finding:
                findings.append(finding)
    return stats, findings


def short(plan: Plan, finding: Finding) -> Plan:
    """A short plan that breaks the same promise in the same way."""
    return shrunk(plan, lambda smaller: how_it_breaks(smaller, finding) is not None)


def how_it_breaks(plan: Plan, finding: Finding) -> str | None:
    """The sentence that says that a plan breaks a promise in the same way; None when it doesn't."""
    try:
        outcome = run(plan)
    except ValidationError:
        # Settings that contradict each other are no finding.
        return None
    same = (one for one in INVARIANTS[finding.promise](outcome) if kind_of(one) == kind_of(finding.sentence))
    return next(same, None)


def kind_of(sentence: str) -> str:
    """What a sentence says beside its numbers."""
    return _NUMBERS.sub("#", sentence)


def story_of(plan: Plan, finding: Finding) -> str:
    """What happens in a plan that breaks a promise as the finding does."""
    return told(run(plan), finding.promise, how_it_breaks(plan, finding) or "nothing")
