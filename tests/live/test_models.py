"""The gateway before models that are served rightly and wrongly: it learns what they are, and tells the two apart."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.commands import Running, run, running
from tests.integration.verify_report import Check, Report
from tests.live.catalogue import SERVED, Served
from tests.live.conftest import killed_at_the_end
from tests.live.worker import OwnWorker
from tests.waiting import until

KEY = "s3cret"
STARTS = 50
# A check goes on in several goes where a machine is busy.
CHECK_S = 120
RIGHT = [served for served in SERVED if not served.suspect]
WRONG = [served for served in SERVED if served.suspect]
# Short enough for a listwise model to have all of it in one prompt.
ASKED = {
    "query": "capital of France",
    "documents": [
        "Paris is the capital of France.",
        "Bread is baked.",
        "Lyon lies in France.",
        "Rome is a capital.",
    ],
}


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
        await gateway.until('"serving"')
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

    await until(is_there, within_s=CHECK_S)
    return found[0]


async def shown(client: httpx.AsyncClient) -> dict[str, Any]:
    """What `/admin/workers` says of the model."""
    (worker,) = (await client.get("/admin/workers")).json()["workers"]
    (model,) = worker["models"]
    return dict(model)


async def examined(gateway: Running, worker: OwnWorker, **settings: str) -> tuple[list[dict[str, str]], dict[str, str]]:
    """What ends `doctor` with 1, and its line about the order of scores."""
    ended = await run("doctor", gateway.url, "--json", WORKERS=worker.url, WORKER_API_KEY=worker.api_key, **settings)
    checks = json.loads(ended.out)["checks"]
    (ranking,) = [check for check in checks if check["id"] == "worker-ranking"]
    red = [check for check in checks if check["level"] == "red"]
    assert ended.code == bool(red)
    return red, ranking


async def verified(worker: OwnWorker, place: Path, **settings: str) -> tuple[int, Check]:
    """The exit code of `verify`, and its check of the model."""
    sample = place / "sample.jsonl"
    sample.write_text(json.dumps(ASKED))
    settings |= {"WORKERS": worker.url, "WORKER_API_KEY": worker.api_key}
    ended = await run("verify", "--json", "--sample", str(sample), **settings)
    assert ended.err == ""
    return ended.code, Report.model_validate_json(ended.out).workers[0].check


@each(RIGHT)
@pytest.mark.timeout(500)
async def test_a_model_that_is_served_rightly_is_known_for_what_it_is(worker: OwnWorker, served: Served):
    async with gateway_over(worker, **declared(served)) as gateway:
        verdict = await verdict_of(gateway)
        assert verdict["event"] == "model_checked", verdict
        traits = {"kind": served.kind, "truncation": served.truncation, "score_scale": served.score_scale}
        assert {name: verdict[name] for name in traits} == traits
        async with httpx.AsyncClient(base_url=gateway.url, timeout=CHECK_S) as client:
            (listed,) = (await client.get("/v1/models")).json()["data"]
            model = await shown(client)
            answer = (await client.post("/v1/rerank", json=ASKED)).json()
        assert listed["score_scale"] == served.score_scale
        assert {name: model["profile"][name] for name in traits} == traits
        assert (model["check"], model["suspicion"]) == ("passed", None)
        assert answer["results"][0]["index"] == 0


# Doctor asks for 1000 documents in one list, for which a listwise model of 512 tokens has no room: that is red.
@each([served for served in RIGHT if served.kind != "listwise"])
@pytest.mark.timeout(500)
async def test_doctor_and_verify_find_no_fault_in_a_model_that_is_served_rightly(
    worker: OwnWorker, served: Served, tmp_path: Path
):
    async with gateway_over(worker, **declared(served)) as gateway:
        await verdict_of(gateway)
        red, ranking = await examined(gateway, worker, **declared(served))
    assert ranking["level"] == "green", ranking
    assert red == []
    code, check = await verified(worker, tmp_path, **declared(served))
    assert (code, check.suspicion) == (0, None)
    assert check.profile["kind"] == served.kind


@each(WRONG)
@pytest.mark.timeout(500)
async def test_a_model_that_is_served_wrongly_is_suspect_and_may_be_refused(worker: OwnWorker, served: Served):
    async with gateway_over(worker, SUSPECT_MODELS="refuse") as gateway:
        verdict = await verdict_of(gateway)
        assert verdict["event"] == "model_suspect", verdict
        assert verdict["reason"] in served.suspect
        async with httpx.AsyncClient(base_url=gateway.url, timeout=CHECK_S) as client:
            answer = await client.post("/v1/rerank", json=ASKED)
            metrics = (await client.get("/metrics")).text
            model = await shown(client)
        assert answer.status_code == 503
        if served.is_usable:
            assert verdict["fix"] in answer.text
        assert f'rerank_model_suspect{{model="tiny-reranker",reason="{verdict["reason"]}"}} 1.0' in metrics
        assert model["check"] == "suspect"
        assert model["suspicion"] == {name: verdict[name] for name in ("reason", "seen", "cause", "fix")}


@each([served for served in WRONG if served.is_usable])
@pytest.mark.timeout(500)
async def test_doctor_warns_of_a_model_that_is_served_wrongly_and_verify_ends_with_1(
    worker: OwnWorker, served: Served, tmp_path: Path
):
    async with gateway_over(worker) as gateway:
        verdict = await verdict_of(gateway)
        red, ranking = await examined(gateway, worker)
    assert red == []
    assert ranking["level"] == "yellow", ranking
    assert ranking["fix"] == verdict["fix"]
    code, check = await verified(worker, tmp_path)
    assert code == 1
    assert check.suspicion
    assert check.suspicion.reason in served.suspect


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
