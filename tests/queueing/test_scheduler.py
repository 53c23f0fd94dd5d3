"""Slots: a small request among big ones, a modest key beside a greedy one; on a virtual clock."""

import asyncio

from tests.virtual import ScriptedLink, elapsed, engine, on_virtual_clock, score

DOCUMENTS = [f"document {number}" for number in range(64)]


@on_virtual_clock
async def test_a_small_request_waits_for_a_chunk_or_two_not_for_the_big_ones_before_it():
    link = ScriptedLink("w", takes_s=0.01, per_document_s=0.001)
    async with engine([link], max_batch=32) as made:
        big = [asyncio.create_task(score(made, [f"{n}-{d}" for d in range(1000)])) for n in range(3)]
        await asyncio.sleep(0.5)
        assert await elapsed(score(made, DOCUMENTS[:10])) < 6 * 0.042
        await asyncio.gather(*big)


@on_virtual_clock
async def test_a_greedy_key_does_not_starve_a_modest_one():
    link = ScriptedLink("w", per_document_s=0.001)
    async with engine([link], max_batch=16, max_queue_wait_s=1000) as made:
        greedy = [asyncio.create_task(score(made, [f"{n}-{d}" for d in range(160)], key="greedy")) for n in range(20)]
        await asyncio.sleep(0.2)
        assert await elapsed(score(made, [f"m{d}" for d in range(160)], key="modest")) < 1.5
        await asyncio.gather(*greedy)
