"""CPU time of a request, of a change of a worker and of its leaving: very many workers against a tenth of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import process_time

from app.assembly import Assembly
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.workers.worker import Worker
from app.workers.worker_gauges import watch_worker
from tests.virtual import ScriptedLink, engine, on_virtual_clock, score

FEW, MANY = 100, 1000


@asynccontextmanager
async def workers(count: int) -> AsyncIterator[Assembly]:
    links = [ScriptedLink(f"w{number}") for number in range(count)]
    async with engine(links, probe_interval_s=3600) as made:
        # Until all have been probed.
        await asyncio.sleep(60)
        yield made


async def least_cpu_s(made: Assembly, work: Callable[[Assembly], object]) -> float:
    """The least CPU time that the work took: other processes can only add to it."""
    took = []
    for _ in range(15):
        began = process_time()
        done = work(made)
        if asyncio.iscoroutine(done):
            await done
        took.append(process_time() - began)
    return min(took)


async def times_as_much(work: Callable[[Assembly], object]) -> float:
    """The CPU time of the work with many workers, in its CPU time with few."""
    async with workers(FEW) as made:
        few = await least_cpu_s(made, work)
    async with workers(MANY) as made:
        return await least_cpu_s(made, work) / few


@on_virtual_clock
async def test_a_request_costs_the_same_with_ten_times_as_many_workers():
    assert await times_as_much(lambda made: score(made, ["one", "two"])) < 3


@on_virtual_clock
async def test_a_request_after_a_change_of_a_worker_costs_no_more_than_there_are_workers():
    async def change_and_score(made: Assembly) -> None:
        for worker in made.registry.workers[:2]:
            worker.is_drained = not worker.is_drained
        await score(made, ["one", "two"])

    assert await times_as_much(change_and_score) < 30


def test_a_worker_leaves_as_fast_as_one_of_ten_times_fewer():
    settings = Settings()

    def left_s(count: int) -> float:
        metrics = Metrics()
        joined = [Worker(ScriptedLink(f"w{number}"), settings) for number in range(count)]
        for worker in joined:
            watch_worker(worker, metrics)
        began = process_time()
        for worker in joined[:50]:
            metrics.forget_worker(worker.name, owner=worker)
        return process_time() - began

    assert min(left_s(MANY) for _ in range(3)) < 3 * min(left_s(FEW) for _ in range(3))
