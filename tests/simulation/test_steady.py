"""A load that stays the same: forecasts come true, nothing grows, and the simulation would tell if it did."""

from unittest.mock import patch

import pytest

from app.policy.shedding import Outlook
from app.queueing.scheduler import Scheduler
from app.types import Chunk, Fingerprint
from tests.simulation.campaign import Tally, look_at
from tests.simulation.forecasts import forecasts_come_true
from tests.simulation.invariants import memory_stays_flat
from tests.simulation.steady import steady
from tests.simulation.world import run

# Of a run in which hundreds of requests wait for longer than a call takes.
_CROWDED = 4


@pytest.mark.parametrize("seed", [5, 6, *(pytest.param(seed, marks=pytest.mark.long) for seed in (0, 1, 2, 3, 4, 7))])
def test_no_promise_is_broken_under_a_steady_load(seed: int):
    assert look_at(steady(seed), Tally()) is None


@pytest.mark.long
def test_a_chunk_that_is_kept_for_ever_is_seen():
    kept, scored = list[Chunk](), Scheduler.scored

    def keep(self: Scheduler, chunk: Chunk) -> None:
        kept.append(chunk)
        scored(self, chunk)

    with patch.object(Scheduler, "scored", keep):
        assert any("objects" in sentence for sentence in memory_stays_flat(run(steady(_CROWDED))))


@pytest.mark.long
def test_a_forecast_of_half_the_wait_is_seen():
    outlook = Scheduler.outlook

    def hopeful(self: Scheduler, key: str, documents: int, fingerprint: Fingerprint) -> Outlook:
        found = outlook(self, key, documents, fingerprint)
        return found._replace(per_s=found.per_s and 2 * found.per_s)

    with patch.object(Scheduler, "outlook", hopeful):
        assert [*forecasts_come_true(run(steady(_CROWDED)))]
