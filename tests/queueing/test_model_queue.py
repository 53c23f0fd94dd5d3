"""How fast a model's workers get through its queue, as far as that is known; on a virtual clock."""

import asyncio
from collections import deque

import pytest

from app.errors import Busy, Unavailable, Unreachable
from tests.virtual import ScriptedLink, engine, on_virtual_clock, score

DOCUMENTS = [f"document {number}" for number in range(64)]


@on_virtual_clock
async def test_a_retry_that_waits_for_one_worker_does_not_make_the_others_look_saturated():
    tired, good = ScriptedLink("tired", script=deque([Busy("tired", retry_after_s=3)])), ScriptedLink("good")
    async with engine([tired, good]) as made:
        while not tired.calls:
            await score(made, DOCUMENTS[:1])
        await asyncio.sleep(1.5)
        good.script.append(Unavailable("good"))
        waiting = asyncio.create_task(score(made, DOCUMENTS[:1]))
        for _ in range(12):
            await asyncio.sleep(0.1)
            await score(made, DOCUMENTS[:1])
        assert not waiting.done()
        assert made.scheduler.outlook("k", 1, made.registry.models()["m"]).per_s is None
        await waiting


@on_virtual_clock
async def test_time_without_any_worker_is_not_taken_for_slowness():
    link = ScriptedLink("w", takes_s=0, per_document_s=0.01)
    async with engine([link], max_batch=16, worker_max_calls=1) as made:
        asked = [asyncio.create_task(score(made, [f"{n}-{d}" for d in range(100)])) for n in range(4)]
        await asyncio.sleep(2)
        made.prober.mark_failing(made.registry.workers[0], Unreachable("w"))
        link.problem = Unreachable("w")
        await asyncio.sleep(4)
        link.problem = None
        await asyncio.gather(*asked)
        assert made.scheduler.outlook("k", 1, made.registry.models()["m"]).per_s == pytest.approx(100, rel=0.1)
