"""Hung workers: how soon they are left for others, and that busy ones aren't taken for them; on a virtual clock."""

import asyncio

from app.policy.breaker import State
from app.types import Answer
from tests.virtual import (
    ScoreCall,
    ScriptedLink,
    SerialLink,
    after,
    elapsed,
    engine,
    on_virtual_clock,
    right_scores,
    score,
)

DOCUMENTS = [f"document {number}" for number in range(64)]


@on_virtual_clock
async def test_a_hung_worker_is_left_for_one_that_works_and_then_not_called_again():
    hung, good = ScriptedLink("hung"), ScriptedLink("good")
    async with engine([hung, good]) as made:
        for _ in range(60):
            await score(made, DOCUMENTS)
        hung.hangs = True
        times = [await elapsed(score(made, DOCUMENTS)) for _ in range(20)]
        assert max(times) < 1.2
        assert sum(seconds > 0.1 for seconds in times) <= 3
        assert made.registry.workers[0].breaker.state is not State.CLOSED


@on_virtual_clock
async def test_a_worker_that_hangs_from_the_start_leaves_half_of_the_time_for_another():
    hung, good = ScriptedLink("hung", always=after(3600)), ScriptedLink("good")
    async with engine([hung, good]) as made:
        assert await elapsed(score(made, DOCUMENTS, within_s=20)) < 10.1


@on_virtual_clock
async def test_a_call_is_not_given_up_when_no_time_is_left_for_another():
    """Two workers that are well, and take 6 s for a call, would else begin a queued one four times and end none."""
    links = [ScriptedLink(name, takes_s=6.1) for name in "ab"]
    async with engine(links) as made:
        for within_s in (25, 8):
            await asyncio.gather(*(score(made, [f"document {number}"], within_s=within_s) for number in range(2)))
    assert [len(link.calls) for link in links] == [2, 2]


@on_virtual_clock
async def test_who_was_waited_for_in_vain_leaves_the_next_all_the_time_there_is():
    """Half of what is left, and half of that, and so on, would be too short for every one of them."""
    links = [ScriptedLink(name, takes_s=7) for name in "abc"]
    async with engine(links) as made:
        hung = asyncio.Event()

        async def hang_once(call: ScoreCall) -> Answer:
            if not hung.is_set():
                hung.set()
                await asyncio.sleep(3600)
            return await links[0].answer(call)

        for link in links:
            link.always = hang_once
        assert (await score(made, DOCUMENTS[:1], within_s=20)).scores == right_scores(DOCUMENTS[:1])
    assert sum(len(link.calls) for link in links) == 2


@on_virtual_clock
async def test_right_after_a_burst_a_hung_worker_is_left_as_soon_as_before_it():
    links = [SerialLink(name, per_document_s=0.01) for name in ("a", "b")]
    async with engine(links, max_batch=16, worker_min_documents=512) as made:
        for _ in range(60):
            await score(made, DOCUMENTS[:16])
        await asyncio.gather(*[score(made, DOCUMENTS[:16]) for _ in range(100)])
        links[0].hangs = True
        times = [await elapsed(score(made, DOCUMENTS[:16])) for _ in range(6)]
    assert max(times) < 2


@on_virtual_clock
async def test_a_worker_that_keeps_answering_is_busy_not_hung():
    links = [SerialLink("a"), SerialLink("b")]
    async with engine(links) as made:
        for _ in range(60):
            await score(made, DOCUMENTS[:1])
        for link in links:
            link.takes_s = 0.3
        before = sum(len(link.calls) for link in links)
        await asyncio.gather(*[score(made, [f"document {number}"]) for number in range(20)])
        assert sum(len(link.calls) for link in links) == before + 20


@on_virtual_clock
async def test_a_pause_of_the_gateway_itself_is_not_taken_for_a_hung_worker():
    links = [ScriptedLink("a"), ScriptedLink("b")]
    async with engine(links) as made:
        for _ in range(60):
            await score(made, DOCUMENTS[:1])
        before = sum(len(link.calls) for link in links)
        asked = asyncio.create_task(score(made, DOCUMENTS[:1]))
        await asyncio.sleep(0)
        asyncio.get_running_loop().now += 3  # type: ignore[attr-defined]  # the loop of these tests
        await asked
        assert sum(len(link.calls) for link in links) == before + 1
