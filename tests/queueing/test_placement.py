"""Slow workers: how much work they get, and when waiting for another is sooner; on a virtual clock."""

import asyncio

import pytest

from tests.virtual import ScriptedLink, elapsed, engine, on_virtual_clock, score

DOCUMENTS = [f"document {number}" for number in range(64)]


@on_virtual_clock
async def test_a_slow_worker_gets_less_work():
    slow, *_ = links = [ScriptedLink(f"w{n}", takes_s=0.1 if n == 0 else 0.01) for n in range(4)]
    async with engine(links) as made:

        async def client() -> None:
            for _ in range(50):
                await score(made, DOCUMENTS[:16])

        await asyncio.gather(*[client() for _ in range(6)])
    assert len(slow.calls) < 0.15 * sum(len(link.calls) for link in links)


@on_virtual_clock
async def test_a_slow_worker_stays_idle_when_waiting_for_a_busy_one_is_sooner():
    slow, _ = links = [ScriptedLink(f"w{n}", takes_s=0.2 if n == 0 else 0.01) for n in range(2)]
    async with engine(links, worker_max_calls=1) as made:
        for _ in range(40):
            await score(made, DOCUMENTS)
        calls = len(slow.calls)
        times = await asyncio.gather(*[elapsed(score(made, DOCUMENTS)) for _ in range(3)])
        assert len(slow.calls) == calls
        assert max(times) == pytest.approx(0.03)
        # With that many before it, even the slow one is soon enough.
        times = await asyncio.gather(*[elapsed(score(made, DOCUMENTS)) for _ in range(60)])
        assert len(slow.calls) > calls
        assert max(times) < 0.6


@on_virtual_clock
async def test_a_list_is_not_cut_for_a_worker_that_is_too_slow_to_help():
    links = [ScriptedLink(f"w{number}", takes_s=0.1 if number == 0 else 0.01) for number in range(4)]
    documents = [f"document {number}" for number in range(3 * 64)]
    pieces = []
    async with engine(links) as made:
        for _ in range(60):
            before = sum(len(link.calls) for link in links)
            await score(made, documents)
            pieces.append(sum(len(link.calls) for link in links) - before)
    assert (pieces[0], pieces[-1]) == (4, 3)


@on_virtual_clock
async def test_of_very_many_workers_a_few_are_called_again_and_again_but_no_more_than_one_call_waits_for_another():
    links = [ScriptedLink(f"w{number}", takes_s=0.1) for number in range(300)]
    async with engine(links, probe_interval_s=3600) as made:
        await asyncio.sleep(60)
        for _ in range(5):
            await score(made, DOCUMENTS[:1])
        assert sum(bool(link.calls) for link in links) <= 5
        times = await asyncio.gather(*[elapsed(score(made, DOCUMENTS[:1])) for _ in range(150)])
    assert max(times) == pytest.approx(0.1)
    assert max(link.most_in_flight for link in links) <= 2
