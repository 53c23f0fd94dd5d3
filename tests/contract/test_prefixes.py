"""Base URLs that say what a client can't: the dialect, the model or both; and a warning for one that should."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from app.telemetry import log
from tests.contract.asking import DOCUMENTS, answer_of, ask, ranked, results
from tests.fake_vllm import FakeVllm
from tests.running import gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXTS = [{"text": text} for text in DOCUMENTS]
GO = {"User-Agent": "Go-http-client/1.1"}


@pytest.mark.parametrize(
    "path", ["/v1/v1/rerank", "/jina/v1/rerank", "/api/v1/rerank/", "/v2/v1/rerank", "/vllm/v1/rerank"]
)
async def test_the_last_version_decides_about_documents(path: str, client: httpx.AsyncClient):
    answer = await answer_of(client, path, query="q", documents=DOCUMENTS)
    assert answer == results(ranked("relevance_score", document=TEXTS))


@pytest.mark.parametrize("path", ["/v1/v2/rerank", "/cohere/v2/rerank", "/cohere/v1/v2/rerank"])
async def test_the_last_version_decides_about_cohere(path: str, client: httpx.AsyncClient):
    answer = await answer_of(client, path, query="q", documents=DOCUMENTS)
    assert answer == results(ranked("relevance_score"), version="2")


async def test_cohere_v1_returns_documents_only_on_request(client: httpx.AsyncClient):
    answer = await answer_of(client, "/cohere/v1/rerank", query="q", documents=DOCUMENTS)
    assert answer == results(ranked("relevance_score"))


@pytest.mark.parametrize("path", ["/voyage/rerank", "/voyage/v1/rerank", "/voyage/models/tiny-reranker/v1/rerank"])
async def test_voyage_is_chosen_by_the_path(path: str, client: httpx.AsyncClient):
    # As npm's voyageai, LiteLLM, Continue, Weaviate and Milvus's voyageai write it: nothing in the body tells.
    answer = await answer_of(client, path, query="q", documents=DOCUMENTS, model="tiny-reranker")
    assert answer["data"] == ranked("relevance_score")
    assert answer["object"] == "list"


async def test_the_model_in_the_path_wins_over_all_others_and_may_hold_slashes():
    first, second = FakeVllm(model="org/first"), FakeVllm(model="second")
    async with gateway(first, second) as client:
        for path in ("/models/org/first/v1/rerank", "/models/org%2Ffirst/rerank", "/voyage/models/org/first/rerank"):
            answer = await answer_of(client, f"{path}?model=second", query="q", documents=["a"], model="second")
            assert answer["model"] == "org/first"
        assert (await answer_of(client, "/models/second/rerank", query="q", documents=["a"]))["model"] == "second"
        unknown = await ask(client, "/models/third/rerank", query="q", documents=["a"])
        assert unknown.status_code == 404
        assert unknown.json()["error"]["message"] == (
            "The model `third` does not exist here; there is org/first, second."
        )
        metrics = (await client.get("/metrics")).text
    assert "third" not in metrics
    counted = [line for line in metrics.splitlines() if line.startswith("rerank_requests_total{")]
    for labels in (('route="/rerank"', 'dialect="voyage"'), ('route="/v1/rerank"', 'dialect="vllm"')):
        assert [line.endswith(" 1.0") for line in counted if all(label in line for label in labels)] == [True]


@pytest.mark.parametrize("path", ["/admin/rerank", "/admin/v1/rerank", "/ui/rerank", "/docs/rerank"])
async def test_nothing_below_what_operators_and_people_open_scores(
    path: str, client: httpx.AsyncClient, worker: FakeVllm
):
    before = len(worker.scored)
    assert (await ask(client, path, query="q", documents=["a"])).status_code == 404
    assert len(worker.scored) == before


@pytest.mark.parametrize(
    "path", ["/info", "/tei/info", "/models/tiny-reranker/info", "/info?model=tiny-reranker", "/v1/info"]
)
async def test_info_is_as_tei_gives_it(path: str, client: httpx.AsyncClient):
    told = (await client.get(path)).json()
    assert told["model_id"] == "tiny-reranker"
    assert told["model_type"] == {"reranker": {}}
    assert told["max_input_length"] == 512
    assert told["max_client_batch_size"] == 20_000


async def test_info_and_one_model_are_found_by_every_name():
    first, second = FakeVllm(model="org/first", max_model_len=128), FakeVllm(model="second", max_model_len=256)
    models: dict[str, Any] = {"second": {"aliases": ["rerank-*", "other"]}, "away": {"aliases": []}}
    async with gateway(first, second, models=models, api_keys="a:hush") as client:
        client.headers["Authorization"] = "Bearer hush"
        for name, root in (("org/first", "org/first"), ("org%2Ffirst", "org/first"), ("rerank-v3", "second")):
            for prefix in ("", "/voyage", "/api", "/models/second"):
                told = (await client.get(f"{prefix}/v1/models/{name}")).json()
                assert told["id"] == name.replace("%2F", "/")
                assert told["root"] == root
                assert told["model_type"] == "rerank"
            told = (await client.get(f"/models/{name}/info")).json()
            assert told["max_input_length"] == (128 if root == "org/first" else 256)
        assert [row["id"] for row in (await client.get("/voyage/v1/models")).json()["data"]] == [
            "org/first",
            "other",
            "second",
        ]
        unnamed = await client.get("/info")
        assert unnamed.status_code == 400
        assert "name one in the body or as ?model=" in unnamed.json()["error"]["message"]
        for path in ("/v1/models/third", "/models/third/info", "/info?model=third"):
            missing = await client.get(path)
            assert missing.status_code == 404
            assert "there is org/first, other, second" in missing.json()["error"]["message"]
        assert (await client.get("/v1/models/away")).status_code == 503
        del client.headers["Authorization"]
        for path in ("/info", "/v1/models/second", "/voyage/v1/models", "/models/second/info"):
            assert (await client.get(path)).status_code == 401


@pytest.fixture
def warned() -> Iterator[list[Any]]:
    """The lines of the log that are warnings, as they come."""
    log.configure(style="json", level="warning")
    with capture_logs() as lines:
        yield lines
    log.configure(style="json", level="error")


async def test_a_go_client_that_may_be_voyageai_is_warned_of_once_per_key(warned: list[Any]):
    body = {"model": "tiny-reranker", "query": "q", "documents": ["a"]}
    async with gateway(FakeVllm(), api_keys="a:hush,b:hush-2") as client:
        for secret in ("hush", "hush-2"):
            for _ in range(3):
                await client.post("/rerank", json=body, headers=GO | {"Authorization": f"Bearer {secret}"})
    assert [(line["event"], line["key"]) for line in warned] == [("maybe_voyageai", "a"), ("maybe_voyageai", "b")]
    assert "write /voyage/rerank" in warned[0]["advice"]


@pytest.mark.parametrize(
    ("path", "more", "headers"),
    [
        ("/voyage/rerank", {"model": "tiny-reranker"}, GO),
        ("/rerank?dialect=voyage", {"model": "tiny-reranker"}, GO),
        ("/rerank?dialect=vllm", {"model": "tiny-reranker"}, GO),
        ("/rerank", {}, GO),
        ("/rerank?model=tiny-reranker", {}, GO),
        ("/rerank", {"model": "tiny-reranker"}, {"User-Agent": "python-httpx/0.28"}),
        ("/rerank", {"model": "tiny-reranker", "top_k": 1}, GO),
    ],
)
async def test_nobody_else_is_warned_of(
    path: str, more: dict[str, Any], headers: dict[str, str], client: httpx.AsyncClient, warned: list[Any]
):
    response = await client.post(path, json={"query": "q", "documents": ["a"]} | more, headers=headers)
    assert response.status_code == 200
    assert not warned
