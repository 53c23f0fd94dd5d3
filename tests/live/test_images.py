"""Images through the gateway to a real vLLM: its own schema, its scores, and `verify` on them."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fake_vllm import FakeVllm
from tests.integration.commands import run
from tests.integration.verify_report import Report
from tests.live.worker import MODEL, OwnWorker
from tests.pictures import base64_of, content_of, png
from tests.running import gateway

NAME = "tiny-reranker"
MODELS = {NAME: {"multimodal": True}}
PICTURES = [png(60, 60, shade=shade) for shade in (0, 60, 120, 180, 240)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnWorker]:
    """A worker with a model that reads pictures."""
    venv = os.environ.get("TEST_VLLM_VENV")
    if not venv:
        pytest.skip("TEST_VLLM_VENV must name a venv for vLLM; `make live` sees to that")
    log = tmp_path_factory.mktemp("vllm") / "clip.log"
    model = MODEL.parent / "model-tiny-clip"
    worker = OwnWorker(Path(venv).resolve(), api_key="s3cret", log=log, model=model, flags=("--max-model-len", "77"))
    try:
        asyncio.run(worker.start())
        yield worker
    finally:
        worker.kill()


async def scores_of(client: httpx.AsyncClient, query: Any, documents: list[Any]) -> list[float]:
    response = await client.post("/v1/score", json={"model": NAME, "text_1": query, "text_2": documents})
    assert response.status_code == 200, response.text
    return [row["score"] for row in response.json()["data"]]


@pytest.mark.timeout(300)
async def test_pictures_score_through_the_gateway_as_on_the_worker(clip: OwnWorker):
    wanted = [content_of(one) for one in PICTURES]
    headers = {"Authorization": f"Bearer {clip.api_key}"}
    async with (
        httpx.AsyncClient(base_url=clip.url, headers=headers, timeout=60) as worker,
        gateway(FakeVllm(url=clip.url), worker_api_key=clip.api_key, models=MODELS, cache=True, min_batch=1) as client,
    ):
        for query, asked in (
            ("a word", "a word"),
            ([content_of(PICTURES[2])], {"image": base64_of(PICTURES[2])}),
            ([content_of(PICTURES[2])], content_of(PICTURES[2])),
        ):
            direct = await scores_of(worker, query, [*wanted, "a word"])
            for documents in (wanted, [{"image": base64_of(one).rstrip("=")} for one in PICTURES]):
                assert await scores_of(client, asked, [*documents, "a word"]) == pytest.approx(direct, abs=1e-5)
            assert direct.index(max(direct)) == (5 if query == "a word" else 2)
        refused = await client.post("/rerank", json={"query": "q", "documents": [content_of("a", PICTURES[0])]})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "documents[0]"


@pytest.mark.timeout(120)
async def test_a_model_that_reads_texts_refuses_pictures_in_words_that_reach_the_client(workers: tuple[str, str]):
    async with gateway(FakeVllm(url=workers[0]), models=MODELS) as client:
        refused = await client.post("/rerank", json={"query": "q", "documents": ["a", content_of(PICTURES[0])]})
    assert refused.status_code == 400
    assert "MultiModalParam is not supported" in refused.json()["error"]["message"]


@pytest.mark.timeout(300)
async def test_verify_scores_pictures(clip: OwnWorker):
    ended = await run("verify", "--json", "--images", WORKERS=clip.url, WORKER_API_KEY=clip.api_key)
    assert (ended.code, ended.err) == (0, "")
    assert Report.model_validate_json(ended.out).verdict.kind == "safe"
