"""Counting a long query's tokens: whatever it does, no request fails or waits long for it. On a virtual clock."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from app.errors import AttemptTimeout, Busy, ClosedBeforeResponse, Misconfigured, Unreachable, WorkerError
from tests.virtual import ScriptedLink, engine, on_virtual_clock, right_scores, score

# By its bytes it may be longer than half of the 512 tokens there are; it has 120.
QUERY = "wordword " * 120
Count = Callable[[str], Awaitable[int]]


@dataclass
class Counting(ScriptedLink):
    """A worker whose counting goes as the test says; None is well."""

    count: Count | None = None
    counted: int = 0

    async def count_tokens(self, model: str, text: str, *, request_id: str) -> int:
        self.counted += 1
        return await (self.count(text) if self.count else super().count_tokens(model, text, request_id=request_id))


async def hang(_: str) -> int:
    await asyncio.sleep(3600)
    raise AssertionError


def fails(error: WorkerError) -> Count:
    async def fail(_: str) -> int:
        raise error

    return fail


async def seconds_for(made: Any, *, within_s: float = 25.0) -> float:
    """How long a request with a long query takes, all of which is scored."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert (await score(made, ["a"], query=QUERY, within_s=within_s)).scores == right_scores(["a"], QUERY)
    return loop.time() - began


@on_virtual_clock
async def test_when_one_worker_hangs_another_counts_and_the_first_is_left_alone_for_half_a_minute():
    links = [Counting("hangs", count=hang), Counting("good")]
    async with engine(links) as made:
        assert 0.5 < await seconds_for(made) < 0.6
        for _ in range(5):
            assert await seconds_for(made) < 0.05
        assert [link.counted for link in links] == [1, 6]
        assert all(worker.is_usable for worker in made.registry.workers), "it scores as well as ever"
        await asyncio.sleep(30)
        links[0].count = None
        assert await seconds_for(made) < 0.05
        assert links[0].counted == 2


@on_virtual_clock
async def test_when_all_workers_hang_two_are_asked_and_an_estimate_does():
    links = [Counting(f"w{number}", count=hang) for number in range(5)]
    async with engine(links) as made:
        assert 1.0 < await seconds_for(made) < 1.1
        assert sum(link.counted for link in links) == 2
        assert await seconds_for(made) < 1.1
        assert await seconds_for(made) < 0.6
        assert await seconds_for(made) < 0.05
        assert [link.counted for link in links] == [1] * 5


@pytest.mark.parametrize("within_s", [0.1, 0.5, 2.0])
@on_virtual_clock
async def test_no_request_with_little_time_is_late_for_counting_and_no_worker_pays_for_it(within_s: float):
    links = [Counting("a", count=hang), Counting("b", count=hang)]
    async with engine(links) as made:
        assert await seconds_for(made, within_s=within_s) < 0.25 * within_s + 0.02
        await seconds_for(made, within_s=within_s)
        assert [link.counted for link in links] == [2, 2], "they are asked again: they had no time"


@pytest.mark.parametrize(
    "error", [Misconfigured("no route"), Busy("busy"), AttemptTimeout("silent")], ids=lambda e: e.outcome
)
@on_virtual_clock
async def test_a_failure_to_count_is_no_failure_to_score(error: WorkerError):
    links = [Counting("w", count=fails(error))]
    async with engine(links) as made:
        for _ in range(10):
            assert await seconds_for(made) < 0.05
        assert links[0].counted == 1
        assert made.registry.workers[0].is_usable


@on_virtual_clock
async def test_who_refuses_connections_for_counting_is_out_of_use_for_all():
    links = [Counting("gone", count=fails(Unreachable("gone refused the connection"))), Counting("good")]
    async with engine(links) as made:
        assert await seconds_for(made) < 0.05
        assert [worker.is_usable for worker in made.registry.workers] == [False, True]


@on_virtual_clock
async def test_an_idle_connection_that_ends_when_it_is_used_says_nothing_about_counting():
    links = [Counting("w", count=fails(ClosedBeforeResponse("closed")))]
    async with engine(links) as made:
        await seconds_for(made)
        links[0].count = None
        await seconds_for(made)
        assert links[0].counted == 2
        assert made.registry.workers[0].is_usable
