"""Lexical scores while no worker can give any: for whom, for how long, and within which bounds."""

import asyncio
from time import perf_counter

import pytest

from app.errors import DeadlineExceeded, NoWorker, Overloaded, UnknownModel, Unreachable
from app.scoring.fallback import Fallback
from app.settings import Settings
from app.telemetry.metrics.catalog import requests
from tests.virtual import ScriptedLink, elapsed, engine, on_virtual_clock, score

DOCUMENTS = [f"document {number}" for number in range(64)]


@on_virtual_clock
async def test_without_workers_the_fallback_scores_whole_lists_and_says_so():
    link = ScriptedLink("w", problem=Unreachable("w"))
    async with engine([link], fallback="lexical", no_worker_wait_s=1, fallback_hold_s=10) as made:
        first = await score(made, ["a q", "b"], query="q", model="m")
        assert first.degraded == "lexical"
        assert first.scores[0] > first.scores[1]
        link.problem = None
        await asyncio.sleep(5)
        assert await elapsed(score(made, ["a"], model="m")) < 0.01
        assert (await score(made, ["a"], model="m")).degraded
        await asyncio.sleep(10)
        assert not (await score(made, ["a"], model="m")).degraded


@on_virtual_clock
async def test_a_name_that_no_model_has_is_unknown_again_when_workers_are_back():
    link = ScriptedLink("w", problem=Unreachable("w is down"))
    async with engine([link], fallback="lexical", no_worker_wait_s=0) as made:
        assert (await score(made, DOCUMENTS, model="made up")).degraded == "lexical"
        link.problem = None
        await asyncio.sleep(20)
        with pytest.raises(UnknownModel, match="there is m"):
            await score(made, DOCUMENTS, model="made up")


@on_virtual_clock
async def test_names_that_clients_made_up_fill_no_memory():
    link = ScriptedLink("w", problem=Unreachable("w is down"))
    async with engine([link]) as made:
        fallback = Fallback(made.registry, made.admission, Settings(), made.metrics)
        names = [f"made up {number}" for number in range(2000)]
        for name in names:
            fallback.enter(name, NoWorker("w is down"))
        held = [name for name in names if fallback.holds(name)]
    assert held == names[-1001:]


@on_virtual_clock
async def test_what_the_fallback_scores_is_pending_like_everything_else():
    link = ScriptedLink("w", problem=Unreachable("w"))
    async with engine([link], fallback="lexical", no_worker_wait_s=0, max_pending_documents=100) as made:
        await score(made, ["a"])
        async with asyncio.TaskGroup() as group:
            group.create_task(score(made, [f"{number} " + "word " * 5000 for number in range(100)]))
            await asyncio.sleep(0)
            assert made.admission.pending_documents == 100
            with pytest.raises(Overloaded):
                await score(made, ["a"])


async def test_the_fallback_ends_with_the_deadline():
    link = ScriptedLink("w", problem=Unreachable("w"))
    async with engine([link], fallback="lexical", no_worker_wait_s=0) as made:
        began = perf_counter()
        with pytest.raises(DeadlineExceeded, match="lexically"):
            await score(made, [f"{number} " + "word " * 100_000 for number in range(100)], within_s=0.3)
        assert perf_counter() - began < 3


@on_virtual_clock
async def test_a_client_may_refuse_degraded_scores():
    link = ScriptedLink("w", problem=Unreachable("w"))
    async with engine([link], fallback="lexical", no_worker_wait_s=1) as made:
        with pytest.raises(NoWorker):
            await score(made, ["a"], takes_degraded=False)


@on_virtual_clock
async def test_time_that_runs_out_is_no_reason_for_the_fallback():
    link = ScriptedLink("w", takes_s=60)
    async with engine([link], fallback="lexical") as made:
        with pytest.raises(DeadlineExceeded):
            await score(made, ["a"], within_s=2)


@on_virtual_clock
async def test_documents_that_were_sent_twice_are_scored_once_and_pending_once():
    link = ScriptedLink("w", problem=Unreachable("w"))
    async with engine([link], fallback="lexical", no_worker_wait_s=0, max_pending_documents=2) as made:
        async with asyncio.TaskGroup() as group:
            # Both are pending at the same time; two of one and one of the other would be too many, counted as sent.
            first = group.create_task(score(made, ["q", "q", "q"], query="q"))
            other = group.create_task(score(made, ["b", "b"], query="q"))
        samples = {one.labels["source"]: one.value for one in made.metrics.samples(requests.DOCUMENTS)}
    assert len(set(first.result().scores)) == 1
    assert (len(first.result().scores), len(other.result().scores)) == (3, 2)
    assert (samples["fallback"], samples["duplicate"]) == (2, 3)
