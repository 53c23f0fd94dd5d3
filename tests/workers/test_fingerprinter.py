"""New weights under an old name are found, also on a worker that is never idle: on a virtual clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest

from app.assembly import Assembly
from app.errors import ClosedBeforeResponse, ClosedMidResponse, Unreachable, WorkerError
from tests.virtual import ScriptedLink, engine, on_virtual_clock, score

DOCUMENTS = [f"document {number}" for number in range(8)]
INTERVAL_S = 10.0
# Three intervals, up to a fifth longer each, and what the one that is under way takes.
FOUND_WITHIN_S = 4 * 1.2 * INTERVAL_S


@asynccontextmanager
async def _busy(link: ScriptedLink) -> AsyncIterator[Assembly]:
    """An engine whose only worker is never idle for longer than a moment, and has been so for a while."""
    link.takes_s = 0.5
    async with engine([link], probe_interval_s=INTERVAL_S) as made:

        async def client() -> None:
            for number in count():
                await score(made, [f"{number} {text}" for text in DOCUMENTS])

        clients = [asyncio.create_task(client()) for _ in range(2)]
        await asyncio.sleep(60)
        try:
            yield made
        finally:
            for one in clients:
                one.cancel()
            await asyncio.gather(*clients, return_exceptions=True)


def _weights(made: Assembly) -> str:
    return made.registry.workers[0].serves["m"].probe_scores


@on_virtual_clock
async def test_a_worker_that_is_always_busy_scores_the_fixed_pairs_every_few_intervals():
    link = ScriptedLink("w")
    async with _busy(link) as made:
        before = _weights(made)
        link.shift = 0.01
        await asyncio.sleep(FOUND_WITHIN_S)
        assert _weights(made) == before
        link.shift = 0.4
        await asyncio.sleep(FOUND_WITHIN_S)
        assert _weights(made) != before
        link.shift = 0.0
        await asyncio.sleep(FOUND_WITHIN_S)
        assert _weights(made) == before


@pytest.mark.parametrize(
    "sign", [ClosedBeforeResponse("w"), ClosedMidResponse("w"), Unreachable("w")], ids=lambda sign: sign.outcome
)
@on_virtual_clock
async def test_a_busy_worker_that_may_have_been_restarted_scores_the_fixed_pairs_within_seconds(sign: WorkerError):
    link = ScriptedLink("w")
    async with _busy(link) as made:
        before = _weights(made)
        link.shift = 0.4
        link.script.append(sign)
        await asyncio.sleep(3)
        assert _weights(made) != before


@on_virtual_clock
async def test_a_busy_worker_with_another_version_scores_the_fixed_pairs_in_the_probe_that_sees_it():
    link = ScriptedLink("w")
    async with _busy(link) as made:
        link.version, link.shift = "2", 0.4
        while made.registry.workers[0].serves["m"].version == "1":
            before = _weights(made)
            await asyncio.sleep(0.1)
        assert _weights(made) != before


@on_virtual_clock
async def test_a_worker_that_seems_to_restart_all_the_time_is_asked_once_a_second():
    link = ScriptedLink("w")
    async with _busy(link) as made:
        before = link.asked
        for _ in range(200):
            made.prober.doubt(made.registry.workers[0])
            await asyncio.sleep(0.05)
        assert 5 <= link.asked - before <= 11


@on_virtual_clock
async def test_a_busy_worker_whose_queue_is_too_long_for_the_fixed_pairs_stays_in_use():
    link = ScriptedLink("w", hangs_probes=False)
    async with _busy(link) as made:
        link.hangs_probes = True
        for _ in range(300):
            await asyncio.sleep(1)
            assert made.registry.workers[0].is_usable
