"""Who is let in: the forecast of a request's answer, with what the workers have already."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.assembly import Assembly
from app.errors import Overloaded
from tests.queueing.test_scheduler_fair_shares import SerialLink
from tests.virtual import engine, on_virtual_clock, score

PER_DOCUMENT_S = 0.01
HELD = 64


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
        began = asyncio.get_running_loop().time()
        with pytest.raises(Overloaded) as refused:
            await score(made, ["a"], key="small", within_s=0.3)
        assert asyncio.get_running_loop().time() == began
    assert refused.value.reason == "deadline"
    assert "they can't be done in the 0.3 s left (RERANK_DEADLINE_S, or timeout_ms)" in refused.value.message


@on_virtual_clock
async def test_a_request_has_its_answer_when_admission_forecast_it():
    async with busy_worker() as made:
        outlook = made.scheduler.outlook("small", 1, made.registry.models()["m"])
        began = asyncio.get_running_loop().time()
        await score(made, ["a"], key="small", within_s=1.0)
        took_s = asyncio.get_running_loop().time() - began
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
