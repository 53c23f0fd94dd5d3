"""The gateway before models that are served rightly and wrongly: it learns what they are, and tells the two apart."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.integration.commands import Running, running
from tests.live.catalogue import SERVED, Served
from tests.live.conftest import killed_at_the_end
from tests.live.worker import OwnWorker
from tests.waiting import until

KEY = "s3cret"
STARTS = 50
RIGHT = [served for served in SERVED if not served.suspect]
WRONG = [served for served in SERVED if served.suspect]


@pytest.fixture(scope="module")
def worker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnWorker]:
    """A worker that serves what the catalogue says; a test starts it, unless the one before has."""
    served: Served = request.param
    folder = served.folder_in(tmp_path_factory.mktemp("models"))
    with killed_at_the_end(tmp_path_factory, model=folder, flags=served.flags) as one:
        yield one


def each(models: list[Served]) -> pytest.MarkDecorator:
    """The test runs once for each of these, all tests of one model together."""
    return pytest.mark.parametrize(
        ("worker", "served"), [(one, one) for one in models], indirect=["worker"], ids=[one.name for one in models]
    )


@asynccontextmanager
async def gateway_over(worker: OwnWorker, **settings: str) -> AsyncIterator[Running]:
    await worker.start()
    async with running("serve", WORKERS=worker.url, WORKER_API_KEY=worker.api_key, **settings) as gateway:
        await gateway.until_usable()
        yield gateway


def declared(served: Served) -> dict[str, str]:
    """The settings for what the check doesn't find out."""
    return {} if served.is_learned else {"MODELS": json.dumps({"tiny-reranker": {"kind": served.kind}})}


async def verdict_of(gateway: Running) -> dict[str, Any]:
    """The line of the log that says how the check ended."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        found[:] = [event for event in gateway.events if event.get("event") in {"model_checked", "model_suspect"}]
        return bool(found)

    await until(is_there, within_s=30)
    return found[0]


@each(RIGHT)
@pytest.mark.timeout(300)
async def test_a_model_that_is_served_rightly_is_known_for_what_it_is(worker: OwnWorker, served: Served):
    async with gateway_over(worker, **declared(served)) as gateway:
        verdict = await verdict_of(gateway)
        assert verdict["event"] == "model_checked", verdict
        told = verdict["kind"], verdict["truncation"], verdict["score_scale"]
        assert told == (served.kind, served.truncation, served.score_scale)


@each(WRONG)
@pytest.mark.timeout(300)
async def test_a_model_that_is_served_wrongly_is_suspect_and_may_be_refused(worker: OwnWorker, served: Served):
    async with gateway_over(worker, SUSPECT_MODELS="refuse") as gateway:
        verdict = await verdict_of(gateway)
        assert verdict["event"] == "model_suspect", verdict
        assert verdict["reason"] in served.suspect
        body = {"query": "capital of France", "documents": ["Paris is the capital of France.", "Bread is baked."]}
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            answer = await client.post("/v1/rerank", json=body)
            metrics = (await client.get("/metrics")).text
        assert answer.status_code == 503
        assert verdict["fix"] in answer.text
        assert f'rerank_model_suspect{{model="tiny-reranker",reason="{verdict["reason"]}"}} 1.0' in metrics


@each(RIGHT)
@pytest.mark.timeout(900)
@pytest.mark.skipif("TEST_LIVE_STARTS" not in os.environ, reason="a minute for each model; `make live-models` does it")
async def test_no_start_of_fifty_suspects_a_model_that_is_served_rightly(worker: OwnWorker, served: Served):
    told = set()
    for _ in range(STARTS):
        async with gateway_over(worker, **declared(served)) as gateway:
            verdict = await verdict_of(gateway)
        told.add((verdict["event"], verdict.get("kind"), verdict.get("truncation"), verdict.get("score_scale")))
    assert told == {("model_checked", served.kind, served.truncation, served.score_scale)}
