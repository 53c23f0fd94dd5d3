"""Retries: within the budget and the deadline, and no longer than a worker is worth waiting for; on a virtual clock."""

import asyncio
from collections import deque

import pytest

from app.errors import BadGateway, Busy, NoWorker, Unavailable
from tests.virtual import ScriptedLink, elapsed, engine, now, on_virtual_clock, score

DOCUMENTS = [f"document {number}" for number in range(64)]


@on_virtual_clock
async def test_when_everything_fails_retries_stay_within_the_budget():
    links = [ScriptedLink(f"w{number}", always=Busy("busy")) for number in range(3)]
    async with engine(links, retry_reserve=10, retry_ratio=0.1, max_attempts=4) as made:
        answers = await asyncio.gather(*[score(made, [f"{n}"]) for n in range(100)], return_exceptions=True)
    assert all(isinstance(answer, NoWorker) for answer in answers)
    assert sum(len(link.calls) for link in links) <= 140


@pytest.mark.parametrize("within_s", [0.05, 0.5, 2])
@on_virtual_clock
async def test_a_pause_that_would_end_after_the_deadline_is_not_begun(within_s: float):
    """Of a worker that fails at once, the last failure is told at once."""
    async with engine([ScriptedLink("w", always=Unavailable("w answered 500"))], max_attempts=100) as made:
        for _ in range(20):
            began = now()
            with pytest.raises((BadGateway, NoWorker)):
                await score(made, DOCUMENTS[:1], within_s=within_s)
            assert now() - began <= within_s + 0.001


@on_virtual_clock
async def test_a_retry_that_waits_for_a_worker_gets_it_when_its_back_off_is_over():
    tired, sick = ScriptedLink("tired", script=deque([Busy("tired", retry_after_s=3)])), ScriptedLink("sick")
    async with engine([tired, sick]) as made:
        while not tired.calls:
            await score(made, DOCUMENTS[:1])
        sick.always = Unavailable("sick")
        assert await elapsed(score(made, DOCUMENTS[:1])) < 3.1


@on_virtual_clock
async def test_a_retry_does_not_wait_for_a_worker_that_backs_off_for_long():
    tired, good = ScriptedLink("tired", script=deque([Busy("tired", retry_after_s=60)])), ScriptedLink("good")
    async with engine([tired, good]) as made:
        while not tired.calls:
            await score(made, DOCUMENTS[:1])
        good.script.append(Unavailable("good"))
        assert await elapsed(score(made, DOCUMENTS[:1])) < 0.3
