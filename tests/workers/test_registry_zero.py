"""A model that has no worker at all, as when its workers are scaled to zero."""

import asyncio

import pytest

from app.assembly import Assembly
from app.errors import NoWorker
from app.settings import ModelSettings
from tests.virtual import ScriptedLink, ScriptedSource, engine, now, on_virtual_clock, right_scores, score

DOCUMENTS = [f"document {number}" for number in range(10)]
MODELS = {"m": ModelSettings(aliases=("rerank-*",), start_s=90, scales_to_zero=True)}


def read(made: Assembly, name: str) -> float | None:
    return made.metrics.registry.get_sample_value(name, {"model": "m"})


@on_virtual_clock
async def test_without_any_worker_a_client_is_told_to_come_back_when_one_may_have_started_and_is_counted():
    source = ScriptedSource()
    async with engine([], search=lambda *_: [source], models=MODELS, no_worker_wait_s=5) as made:
        await source.show()
        assert read(made, "rerank_model_documents_total") == 0
        began = now()
        for asked in ("m", "rerank-multilingual", None):
            with pytest.raises(NoWorker) as raised:
                await score(made, DOCUMENTS, model=asked)
            assert raised.value.retry_after_s == 90
        assert now() - began == pytest.approx(15, abs=0.01)
        assert read(made, "rerank_model_documents_total") == 30
        assert read(made, "rerank_model_pending_documents") == 0


@on_virtual_clock
async def test_a_worker_that_is_only_down_is_awaited_by_its_next_probe():
    source, link = ScriptedSource(), ScriptedLink("a")
    async with engine([link], search=lambda *_: [source], models=MODELS) as made:
        await source.show("a")
        link.hangs = True
        asked = asyncio.create_task(score(made, DOCUMENTS))
        await asyncio.sleep(1)
        assert read(made, "rerank_model_pending_documents") == 10
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        link.hangs = False
        await source.show(waiting=["a"])
        with pytest.raises(NoWorker) as raised:
            await score(made, DOCUMENTS)
        assert raised.value.retry_after_s == 1


@on_virtual_clock
async def test_a_request_that_waits_is_served_by_the_worker_that_was_started_for_it():
    source = ScriptedSource()
    async with engine([ScriptedLink("a")], search=lambda *_: [source], models=MODELS) as made:
        await source.show()
        asked = asyncio.create_task(score(made, DOCUMENTS))
        await asyncio.sleep(3)
        await source.show("a")
        assert (await asked).scores == right_scores(DOCUMENTS)
        assert read(made, "rerank_model_documents_total") == 10
