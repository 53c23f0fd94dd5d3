"""Which model a request gets: its own name, an alias, the only one or the default."""

from typing import Any

import httpx
import pytest

from tests.contract.asking import ask
from tests.fake_vllm import FakeVllm
from tests.running import gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def model_of(client: httpx.AsyncClient, path: str = "/rerank", **body: Any) -> tuple[int, Any]:
    response = await ask(client, path, query="q", documents=["a"], **body)
    return response.status_code, response.json()["model" if response.status_code == 200 else "error"]


@pytest.mark.parametrize("model", [None, ""])
async def test_the_only_model_there_is_needs_no_name(model: str | None, client: httpx.AsyncClient):
    assert await model_of(client) == (200, "tiny-reranker")
    assert await model_of(client, model=model) == (200, "tiny-reranker")


async def test_of_several_models_the_body_names_one_then_the_query_string():
    first, second = FakeVllm(model="first"), FakeVllm(model="second")
    async with gateway(first, second) as client:
        assert await model_of(client, model="first") == (200, "first")
        assert await model_of(client, model="second") == (200, "second")
        assert await model_of(client, "/rerank?model=second") == (200, "second")
        assert await model_of(client, "/rerank?model=second", model="first") == (200, "first")
        assert await model_of(client, "/rerank?model=second", model=None) == (200, "second")
        assert await model_of(client, "/rerank?model=second", model="") == (200, "second")
        status, error = await model_of(client)
        assert [call.body["model"] for call in first.scored] == ["first"] * 2
        assert [call.body["model"] for call in second.scored] == ["second"] * 4
    assert status == 400
    assert error["param"] == "model"
    assert error["message"] == (
        "model is missing and there are several (first, second): name one in the body or as ?model="
    )


async def test_the_default_model_serves_who_names_none():
    first, second = FakeVllm(model="first"), FakeVllm(model="second")
    async with gateway(first, second, default_model="second") as client:
        assert await model_of(client) == (200, "second")
        assert await model_of(client, model="first") == (200, "first")
        assert await model_of(client, model="third") == (
            404,
            {
                "message": "The model `third` does not exist here; there is first, second.",
                "type": "NotFoundError",
                "param": "model",
                "code": 404,
            },
        )


async def test_an_alias_is_a_name_and_the_answer_keeps_the_name_that_was_asked_for():
    worker = FakeVllm(model="first")
    async with gateway(worker, models={"first": {"aliases": ["rerank-v3.5", "first-v2"]}}) as client:
        assert await model_of(client, model="rerank-v3.5") == (200, "rerank-v3.5")
        assert await model_of(client, "/v2/rerank?model=first-v2") == (200, "first-v2")
        assert await model_of(client, model="first") == (200, "first")
        listed = (await client.get("/v1/models")).json()["data"]
    assert {call.body["model"] for call in worker.scored} == {"first"}
    assert [(row["id"], row["root"]) for row in listed] == [
        ("first", "first"),
        ("first-v2", "first"),
        ("rerank-v3.5", "first"),
    ]


async def test_a_model_that_is_known_by_the_settings_but_not_served_now_is_a_503_under_all_its_names():
    settings: dict[str, Any] = {"models": {"away": {"aliases": ["gone"]}}, "no_worker_wait_s": 0.05}
    async with gateway(FakeVllm(model="here"), **settings) as client:
        for name in ("away", "gone"):
            response = await ask(client, "/rerank", query="q", documents=["a"], model=name)
            assert response.status_code == 503, response.text
            assert int(response.headers["Retry-After"]) >= 1


async def test_a_long_model_name_is_cut_in_the_error(client: httpx.AsyncClient):
    status, error = await model_of(client, model="n" * 10_000)
    assert status == 404
    assert len(error["message"]) < 200


async def test_the_list_of_models_has_what_openais_and_xinferences_clients_read(client: httpx.AsyncClient):
    response = await client.get("/v1/models")
    assert response.json() == {
        "object": "list",
        "data": [
            {
                "id": "tiny-reranker",
                "object": "model",
                "created": 1700000000,
                "owned_by": "rerank-gateway",
                "root": "tiny-reranker",
                "max_model_len": 512,
                "model_type": "rerank",
                "score_scale": "probability",
            }
        ],
    }


async def test_patterns_of_aliases_serve_clients_whose_model_name_cannot_be_changed():
    first, second = FakeVllm(model="first"), FakeVllm(model="second")
    models: dict[str, Any] = {
        "first": {"aliases": ["*", "rerank-v3"]},
        "second": {"aliases": ["rerank-*", "second-*"]},
        "away": {"aliases": ["away-*"]},
    }
    async with gateway(first, second, models=models, no_worker_wait_s=0.05) as client:
        for name in ("BAAI/bge-reranker-base", "rerank-v3", "first", "rerank-v3.5", "second-2", "second"):
            assert await model_of(client, model=name) == (200, name)
        asked = {worker.model: len(worker.scored) for worker in (first, second)}
        # A model of the settings is no other model, even while nobody serves it.
        for name in ("away", "away-2"):
            assert (await model_of(client, model=name))[0] == 503
        listed = [row["id"] for row in (await client.get("/v1/models")).json()["data"]]
    assert asked == {"first": 3, "second": 3}
    assert listed == ["first", "rerank-v3", "second"]


async def test_a_name_that_workers_serve_wins_over_an_alias_and_over_every_pattern():
    first, second = FakeVllm(model="first"), FakeVllm(model="second")
    async with gateway(first, second, models={"first": {"aliases": ["second", "*"]}}) as client:
        assert await model_of(client, model="second") == (200, "second")
        listed = {row["id"]: row["root"] for row in (await client.get("/v1/models")).json()["data"]}
    assert len(second.scored) == 1
    assert listed == {"first": "first", "second": "second"}


async def test_without_workers_any_model_name_works_and_its_scores_are_marked():
    async with gateway(workers=()) as client:
        # The check in Milvus's documentation of its vLLM ranker.
        response = await ask(
            client, "/v1/rerank", model="BAAI/bge-reranker-base", query="capital", documents=["the capital", "a cow"]
        )
        assert response.status_code == 200
        assert response.json()["model"] == "BAAI/bge-reranker-base"
        assert [row["index"] for row in response.json()["results"]] == [0, 1]
        assert response.json()["meta"]["degraded"] == response.headers["X-Rerank-Degraded"] == "lexical"
        for path, model in (
            ("/rerank", None),
            ("/rerank", ""),
            ("/rerank", "lexical"),
            ("/models/lexical/rerank", None),
        ):
            response = await ask(client, path, model=model, query="capital", documents=["the capital"])
            assert response.json()["model"] == "lexical"
            assert "X-Rerank-Degraded" not in response.headers
        body = {"model": "bge", "query": "q", "documents": ["a"]}
        denied = await client.post("/rerank", json=body, headers={"X-Rerank-Degraded": "deny"})
        assert denied.status_code == 404
        assert denied.json()["error"]["message"] == "The model `bge` does not exist here; there is lexical."
        assert (await client.get("/v1/models/bge")).json()["root"] == "lexical"


async def test_with_workers_no_name_means_the_embedded_worker():
    async with gateway(FakeVllm(), workers=("lexical://",)) as client:
        assert (await model_of(client, model="bge"))[0] == 404
