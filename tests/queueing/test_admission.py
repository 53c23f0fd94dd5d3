"""Who is let in and who is refused, when and with which words; on a virtual clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.assembly import Assembly
from app.errors import Overloaded
from tests.virtual import ScriptedLink, SerialLink, elapsed, engine, now, on_virtual_clock, score

DOCUMENTS = [f"document {number}" for number in range(64)]
PER_DOCUMENT_S = 0.01
HELD = 64


@on_virtual_clock
async def test_what_cannot_be_done_in_time_is_refused_at_once_and_truthfully():
    link = ScriptedLink("w", takes_s=0, per_document_s=0.01)
    async with engine([link], max_batch=16, max_queue_wait_s=2, worker_max_calls=1) as made:
        big = [asyncio.create_task(score(made, [f"{n}-{d}" for d in range(100)])) for n in range(4)]
        await asyncio.sleep(1.5)
        began = now()
        with pytest.raises(Overloaded) as raised:
            await score(made, [f"late {d}" for d in range(100)])
        assert now() == began
        await asyncio.sleep(raised.value.retry_after_s or 0)
        await score(made, [f"late {d}" for d in range(100)])
        await asyncio.gather(*big)


@on_virtual_clock
async def test_sustained_overload_leaves_those_let_in_a_short_wait():
    link = ScriptedLink("w", takes_s=0, per_document_s=0.001)
    async with engine([link], max_batch=16, worker_max_calls=1, max_queue_wait_s=2) as made:
        took: list[float] = []
        shed: list[float] = []

        async def ask(number: int) -> None:
            began = now()
            try:
                await score(made, [f"{number}-{d}" for d in range(30)])
                took.append(now() - began)
            except Overloaded:
                shed.append(now())

        asked = []
        for number in range(2000):
            asked.append(asyncio.create_task(ask(number)))
            await asyncio.sleep(0.01)
        await asyncio.gather(*asked)
        assert len(took) * 30 > 0.9 * 1000 * 20
        assert max(took[len(took) // 2 :]) < 0.5
        assert len(shed) > 1000
        await asyncio.sleep(1)
        assert await elapsed(score(made, DOCUMENTS[:16])) < 0.05


@on_virtual_clock
async def test_pending_documents_are_bounded_in_all_and_per_key():
    link = ScriptedLink("w", takes_s=1)
    limits: dict[str, Any] = {
        "max_pending_documents": 200,
        "key_max_pending_documents": {"small": 70},
        "max_queue_wait_s": 100,
    }
    async with engine([link], **limits) as made:
        asked = [asyncio.create_task(score(made, DOCUMENTS, key=key)) for key in ("small", "big")]
        await asyncio.sleep(0.1)
        with pytest.raises(Overloaded, match="key small has 64 documents pending"):
            await score(made, DOCUMENTS, key="small")
        asked.append(asyncio.create_task(score(made, DOCUMENTS, key="big")))
        await asyncio.sleep(0.1)
        with pytest.raises(Overloaded, match="192 documents are pending"):
            await score(made, DOCUMENTS, key="big")
        await asyncio.gather(*asked)


@asynccontextmanager
async def busy_worker() -> AsyncIterator[Assembly]:
    """One that has 64 documents all the time, 0.64 s of work, while another key's list of a thousand waits."""
    link = SerialLink("w", takes_s=0, per_document_s=PER_DOCUMENT_S)
    async with engine([link], max_batch=8, min_batch=1, worker_min_documents=HELD, worker_max_calls=8) as made:
        flood = asyncio.create_task(score(made, [f"{n}" for n in range(1000)], key="flood", within_s=100))
        await asyncio.sleep(3)
        yield made
        flood.cancel()
        await asyncio.gather(flood, return_exceptions=True)


@on_virtual_clock
async def test_a_request_that_ends_in_time_only_if_the_workers_had_nothing_yet_is_refused_at_once():
    async with busy_worker() as made:
        began = now()
        with pytest.raises(Overloaded) as refused:
            await score(made, ["a"], key="small", within_s=0.3)
        assert now() == began
    assert refused.value.reason == "deadline"
    assert "they can't be done in the 0.3 s left (RERANK_DEADLINE_S, or timeout_ms)" in refused.value.message


@on_virtual_clock
async def test_a_request_has_its_answer_when_admission_forecast_it():
    async with busy_worker() as made:
        outlook = made.scheduler.outlook("small", 1, made.registry.models()["m"])
        began = now()
        await score(made, ["a"], key="small", within_s=1.0)
        took_s = now() - began
    assert outlook.per_s is not None
    assert (outlook.in_flight + outlook.before + 1) / outlook.per_s == pytest.approx(took_s, rel=0.25)


@on_virtual_clock
async def test_a_refusal_names_its_limit_and_the_setting():
    settings: dict[str, Any] = {
        "max_pending_documents": 20,
        "max_pending_documents_per_key": 9,
        "key_max_pending_documents": {"b": 4},
    }
    async with engine([SerialLink("w", takes_s=5)], **settings) as made:
        first = [asyncio.create_task(score(made, ["a"], key=key)) for key in "abcd"]
        await asyncio.sleep(1)
        for key, documents, told in (
            ("a", 9, "The key a has 1 documents pending; 9 more pass its 9 (RERANK_MAX_PENDING_DOCUMENTS_PER_KEY)."),
            ("b", 4, "The key b has 1 documents pending; 4 more pass its 4 (RERANK_KEY_MAX_PENDING_DOCUMENTS)."),
            ("e", 17, "4 documents are pending; 17 more pass the 20 of RERANK_MAX_PENDING_DOCUMENTS."),
        ):
            with pytest.raises(Overloaded) as refused:
                await score(made, [f"{n}" for n in range(documents)], key=key)
            assert refused.value.message == told
        await asyncio.gather(*first)
