"""The table of faults: what goes wrong, for how long, and what clients may see of it."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from tests.chaos.load import Client
from tests.chaos.stage import Stage, WorkerProcess
from tests.chaos.worker import FAULTS as ANSWERS
from tests.chaos.worker import Order

NOTHING: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Play:
    """What a fault may act on."""

    stage: Stage
    clients: Sequence[Client]


Strike = Callable[[Play], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong under load.

    Args:
        name: For the table.
        strike: Holds the fault for the time of its block.
        short_s: How long in the short form.
        long_s: How long in the long form.
        may_see: Statuses that clients may see, with a Retry-After. Never a wrong score.
    """

    name: str
    strike: Strike
    short_s: float = 1.0
    long_s: float = 10.0
    may_see: frozenset[int] = NOTHING


def ordered(order: Order) -> Strike:
    """One worker does as it is told."""

    @asynccontextmanager
    async def strike(play: Play) -> AsyncIterator[None]:
        worker = await play.stage.victim()
        await worker.obey(order)
        try:
            yield
        finally:
            await worker.obey(Order())

    return strike


@asynccontextmanager
async def nothing(_: Play) -> AsyncIterator[None]:
    """The healthy run that others are compared with."""
    yield


@asynccontextmanager
async def hang(play: Play) -> AsyncIterator[None]:
    """One worker takes connections and calls, and never answers."""
    worker = await play.stage.victim()
    worker.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def death(play: Play) -> AsyncIterator[None]:
    """One worker is killed, and started again at the end."""
    worker = await play.stage.victim()
    await worker.kill()
    yield
    await worker.begin()


@asynccontextmanager
async def all_down(play: Play) -> AsyncIterator[None]:
    """Every worker refuses connections."""
    workers = play.stage.workers
    await _tell(workers, Order("refuse"))
    yield
    await _tell(workers, Order())


def meanwhile(work: Callable[[Play], Coroutine[Any, Any, None]]) -> Strike:
    """`work` goes on during the block, and is cancelled at its end."""

    @asynccontextmanager
    async def strike(play: Play) -> AsyncIterator[None]:
        task = asyncio.create_task(work(play))
        try:
            yield
        finally:
            task.cancel()
            ended = await asyncio.gather(task, return_exceptions=True)
            if not isinstance(ended[0], asyncio.CancelledError | None):
                raise ended[0]

    return strike


async def flap(play: Play) -> None:
    """One worker refuses connections, and takes them again, and so on."""
    worker = await play.stage.victim()
    try:
        while True:
            await worker.obey(Order("refuse"))
            await asyncio.sleep(0.3)
            await worker.obey(Order())
            await asyncio.sleep(0.7)
    finally:
        await worker.obey(Order())


async def leave(play: Play) -> None:
    """Ten times a second others ask for much, and leave before they get it."""
    while True:
        await asyncio.gather(*[client.leave() for client in play.clients])
        await asyncio.sleep(0.1)


async def burst(play: Play) -> None:
    """1024 small requests at once, as many searches as one Milvus proxy runs."""
    clients = islice(cycle(play.clients), 1024)
    await asyncio.gather(*[client.rerank(1 + number % 4) for number, client in enumerate(clients)])
    await asyncio.Event().wait()


HEALTHY = Fault("healthy", nothing, short_s=2.5)
FAULTS = (
    Fault("refuse", ordered(Order("refuse"))),
    *(Fault(name, ordered(Order(name)), short_s=1.2) for name in ANSWERS if name != "none"),
    Fault("hang (SIGSTOP)", hang, short_s=1.5),
    Fault("SIGKILL and restart", death),
    Fault("one ten times slower", ordered(Order(slowness=10)), short_s=1.5),
    Fault("flapping", meanwhile(flap), short_s=2.5, long_s=20.0),
    Fault("clients that leave", meanwhile(leave), short_s=1.5),
    Fault("1024 requests at once", meanwhile(burst), short_s=3.0),
    Fault("all workers down", all_down, short_s=3.0, may_see=frozenset({503})),
)


async def _tell(workers: list[WorkerProcess], order: Order) -> None:
    await asyncio.gather(*[worker.obey(order) for worker in workers])
