"""Drained workers: they get nothing new, finish what they have, and are there again when they are wanted."""

import asyncio

import pytest

from app.errors import NoWorker, Unreachable
from app.workers.worker import Worker
from tests.virtual import ScriptedLink, ScriptedSource, engine, now, on_virtual_clock, right_scores, score
from tests.waiting import until

DOCUMENTS = [f"document {number}" for number in range(32)]


@on_virtual_clock
async def test_a_drained_worker_finishes_what_it_has_and_what_waits_goes_elsewhere():
    drained, other = ScriptedLink("drained", takes_s=1), ScriptedLink("other", takes_s=1)
    async with engine([drained, other], max_batch=8, min_batch=8, worker_max_calls=1) as made:
        asked = asyncio.create_task(score(made, DOCUMENTS))
        await asyncio.sleep(0.5)
        assert (len(drained.calls), len(other.calls), made.scheduler.waiting) == (1, 1, 2)
        made.registry.workers[0].is_drained = True
        assert (await asked).scores == right_scores(DOCUMENTS)
        assert (len(drained.calls), len(other.calls)) == (1, 3)
        assert drained.cancelled == 0


@on_virtual_clock
async def test_what_waits_for_a_worker_that_is_drained_by_force_is_told_so_in_time():
    link = ScriptedLink("w", takes_s=10)
    async with engine([link], max_batch=8, min_batch=8, worker_max_calls=1, no_worker_wait_s=3) as made:
        asked = asyncio.create_task(score(made, DOCUMENTS))
        await asyncio.sleep(0.5)
        before = now()
        made.registry.workers[0].is_drained = True
        with pytest.raises(NoWorker, match="w is drained"):
            await asked
        assert now() - before < 4
        assert len(link.calls) == 1


@on_virtual_clock
async def test_who_waits_for_a_usable_worker_is_woken_when_one_is_undrained():
    link = ScriptedLink("w")
    async with engine([link]) as made:
        (worker,) = made.registry.workers
        worker.is_drained = True
        asked = asyncio.create_task(score(made, DOCUMENTS))
        await asyncio.sleep(1)
        before = now()
        worker.is_drained = False
        assert (await asked).scores == right_scores(DOCUMENTS)
        assert now() - before < 0.5


@on_virtual_clock
async def test_a_retry_does_not_go_to_a_drained_worker():
    drained = ScriptedLink("drained")
    failing = ScriptedLink("failing", always=Unreachable("failing refused the connection"))
    well = ScriptedLink("well")
    async with engine([drained, failing, well]) as made:
        made.registry.workers[0].is_drained = True
        for _ in range(10):
            assert (await score(made, DOCUMENTS)).scores == right_scores(DOCUMENTS)
        assert not drained.calls
        assert failing.calls


@on_virtual_clock
async def test_a_drained_worker_is_probed_and_its_state_says_both():
    drained, other = ScriptedLink("drained"), ScriptedLink("other")
    async with engine([drained, other], probe_interval_s=1) as made:
        worker: Worker = made.registry.workers[0]
        worker.is_drained = True
        assert (worker.is_usable, worker.is_well) == (False, True)
        drained.problem = Unreachable("drained refused the connection")
        await until(lambda: not worker.is_well)
        assert worker.problem is drained.problem
        drained.problem = None
        await until(lambda: worker.is_well)
        assert (worker.is_usable, str(worker.problem)) == (False, "drained is drained")
        worker.is_drained = False
        assert worker.is_usable
        assert not worker.problem


@on_virtual_clock
async def test_a_worker_that_left_and_came_back_is_drained_no_more():
    source = ScriptedSource()
    async with engine([ScriptedLink("a"), ScriptedLink("b")], search=lambda *_: [source]) as made:
        await source.show("a", "b")
        made.registry.workers[0].is_drained = True
        # A source that sees what it saw before changes nothing about it.
        await source.show("b", waiting=["a"])
        await source.show("a", "b")
        assert [worker.is_usable for worker in made.registry.workers] == [False, True]
        await source.show("b")
        await source.show("a", "b")
        assert sorted((worker.name, worker.is_usable) for worker in made.registry.workers) == [("a", True), ("b", True)]


@on_virtual_clock
async def test_a_model_depends_on_its_last_usable_worker_and_on_no_other():
    one, two, alone = ScriptedLink("one"), ScriptedLink("two"), ScriptedLink("alone", model="other")
    async with engine([one, two, alone]) as made:
        first, second, third = made.registry.workers
        assert [made.registry.depending_on(worker) for worker in made.registry.workers] == [[], [], ["other"]]
        first.is_drained = True
        # Nothing depends on a worker that isn't usable anyway.
        assert [made.registry.depending_on(worker) for worker in (first, second, third)] == [[], ["m"], ["other"]]
