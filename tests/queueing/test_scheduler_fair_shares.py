"""Requests of many chunks among clients that never stop sending small ones, on a virtual clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from app.assembly import Assembly
from app.errors import Overloaded
from tests.virtual import SerialLink, engine, now, on_virtual_clock, score

PER_DOCUMENT_S = 0.001
SMALL = 32
BIG = 1000
# Nobody is shed for the length of the queue, nor for a deadline: what is looked at is who gets which part.
PATIENT = {"max_batch": 32, "max_queue_wait_s": 3600.0, "deadline_s": 3600.0}


@dataclass
class Loops:
    """Clients that send 32 documents as soon as they have their answer."""

    answered: int = 0
    shed: int = 0


@asynccontextmanager
async def closed_loops(made: Assembly, clients: int) -> AsyncIterator[Loops]:
    loops = Loops()

    async def client(number: int) -> None:
        for asked in range(10**6):
            try:
                await score(made, [f"{number}, {asked}, {index}" for index in range(SMALL)], within_s=3600)
                loops.answered += 1
            except Overloaded as error:
                loops.shed += 1
                await asyncio.sleep(error.retry_after_s or 1)

    tasks = [asyncio.create_task(client(number)) for number in range(clients)]
    try:
        yield loops
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def serial_worker(**settings: Any) -> AsyncIterator[Assembly]:
    async with engine([SerialLink("w", takes_s=0, per_document_s=PER_DOCUMENT_S)], **settings) as made:
        yield made


async def timed(made: Assembly, documents: int, *, within_s: float) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await score(made, [f"big {index}" for index in range(documents)], within_s=within_s)
    return loop.time() - began


@pytest.mark.parametrize("clients", [8, 16, 64])
@on_virtual_clock
async def test_a_big_request_has_its_share_among_small_ones_and_they_lose_no_more_than_that(clients: int):
    async with serial_worker(**PATIENT) as made, closed_loops(made, clients) as loops:
        await asyncio.sleep(20)
        before = loops.answered
        took_s = await timed(made, BIG, within_s=3600)
        during = loops.answered - before
    fair_s = (clients + 1) * BIG * PER_DOCUMENT_S
    assert took_s <= 1.25 * fair_s
    lost = 1 - during * SMALL * PER_DOCUMENT_S / took_s
    assert lost <= 1.25 * BIG * PER_DOCUMENT_S / took_s


@on_virtual_clock
async def test_with_the_usual_settings_too_a_list_of_a_thousand_comes_through_among_eight_clients():
    async with serial_worker(max_batch=32) as made, closed_loops(made, 8) as loops:
        await asyncio.sleep(20)
        took_s = await timed(made, BIG, within_s=25)
    assert took_s < 10
    assert loops.shed == 0


@pytest.mark.parametrize("clients", [4, 8, 16, 32])
@on_virtual_clock
async def test_what_admission_expects_is_what_happens(clients: int):
    async with serial_worker(**PATIENT) as made, closed_loops(made, clients):
        await asyncio.sleep(20)
        outlook = made.scheduler.outlook("anonymous", BIG, made.registry.models()["m"])
        took_s = await timed(made, BIG, within_s=3600)
    assert outlook.per_s is not None
    assert outlook.per_s == pytest.approx(1 / PER_DOCUMENT_S, rel=0.1)
    assert (outlook.in_flight + outlook.before + BIG) / outlook.per_s == pytest.approx(took_s, rel=0.25)


@on_virtual_clock
async def test_what_cannot_be_done_among_so_many_is_told_at_once_and_not_after_its_deadline():
    async with serial_worker(max_batch=32, max_queue_wait_s=3600.0) as made, closed_loops(made, 64):
        await asyncio.sleep(20)
        began = now()
        with pytest.raises(Overloaded) as refused:
            await timed(made, BIG, within_s=25)
        assert now() == began
    assert refused.value.reason == "deadline"
