"""Images on their way through the gateway, over real sockets, from all shapes of requests to vLLM's."""

from typing import Any

import httpx
import pytest

from tests.fake_vllm import FakeVllm, score_of, status
from tests.pictures import base64_of, content_of, gif, png, url_of
from tests.running import gateway
from tests.telemetry.test_log import logged

MODELS = {"tiny-reranker": {"multimodal": True}}
DOCUMENTS = ["a", content_of("b", png(shade=9)), {"image": base64_of(png(shade=5))}, {"image": url_of(gif(2, 2))}]
# What they are on vLLM's wire.
SENT: list[Any] = [
    "a",
    content_of("b", png(shade=9)),
    content_of(png(shade=5)),
    {"content": [{"type": "image_url", "image_url": {"url": url_of(gif(2, 2), "image/gif")}}]},
]
TEXTS = ["a", "b", "", ""]
BASE64 = base64_of(png())[:20]


async def ask(client: httpx.AsyncClient, path: str, **body: Any) -> Any:
    response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    assert BASE64 not in response.text
    return response.json()


@pytest.mark.parametrize("query", ["q", content_of("q", png()), {"image": base64_of(png())}])
async def test_a_worker_gets_images_in_vllms_shape_and_their_scores_come_back(query: Any):
    worker = FakeVllm(multimodal=True)
    async with gateway(worker, models=MODELS) as client:
        answer = await ask(client, "/v1/rerank", query=query, documents=DOCUMENTS)
        pairs = await ask(client, "/score", text_1=query, text_2=DOCUMENTS)
    sent = "q" if query == "q" else content_of("q", png()) if "content" in query else content_of(png())
    scores = [score_of(sent, document) for document in SENT]
    assert worker.scored[0].body["text_1"] == (sent if sent == "q" else [sent])
    assert worker.scored[0].body["text_2"] == SENT
    assert [row["score"] for row in pairs["data"]] == scores
    assert {row["index"]: row["relevance_score"] for row in answer["results"]} == dict(enumerate(scores))


@pytest.mark.parametrize(
    ("path", "body", "rows", "name"),
    [
        ("/v1/rerank", {}, "results", "document"),
        ("/voyage/rerank", {"return_documents": True}, "data", "document"),
        ("/infinity/rerank", {"return_documents": True}, "results", "document"),
        ("/ali/rerank", {"parameters": {"return_documents": True}}, "results", "document"),
        ("/weaviate/rerank", {}, "scores", "document"),
        ("/v2/rerank", {}, "results", None),
        ("/v1/ranking", {}, "rankings", None),
    ],
)
async def test_documents_come_back_without_their_images(path: str, body: dict[str, Any], rows: str, name: str | None):
    query = content_of("q", png())
    asked = {"query": query, "documents": DOCUMENTS}
    if path == "/v1/ranking":
        asked = {"query": query, "passages": DOCUMENTS}
    elif path.startswith("/ali"):
        asked = {"input": asked}
    async with gateway(FakeVllm(multimodal=True), models=MODELS) as client:
        answer = await ask(client, path, **asked, **body)
    found = answer.get("output", answer)[rows]
    assert len(found) == len(DOCUMENTS)
    if name:
        told = [row[name]["text"] if isinstance(row[name], dict) else row[name] for row in found]
        assert sorted(told) == sorted(TEXTS)


async def test_a_model_that_reads_texts_only_gets_the_texts_of_content_and_no_image():
    worker = FakeVllm()
    async with gateway(worker) as client:
        await ask(client, "/rerank", query=content_of("a", "b"), documents=[content_of("c")])
        response = await client.post("/rerank", json={"query": "q", "documents": DOCUMENTS})
    assert [(call.body["text_1"], call.body["text_2"]) for call in worker.scored] == [("a\nb", ["c"])]
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "documents[1]"
    assert "models.tiny-reranker.multimodal: true" in response.json()["error"]["message"]


async def test_a_model_that_is_declared_wrongly_is_told_by_its_worker():
    async with gateway(FakeVllm(), models=MODELS) as client:
        response = await client.post("/rerank", json={"query": "q", "documents": DOCUMENTS[:2]})
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("documents[1]: MultiModalParam is not supported for")


async def test_workers_fetch_images_from_listed_hosts_and_from_no_others():
    worker, listed = FakeVllm(multimodal=True), {"type": "image_url", "image_url": {"url": "https://a.example:8443/b"}}
    async with gateway(worker, models=MODELS, image_hosts=("a.example:8443",)) as client:
        await ask(client, "/rerank", query={"content": [listed]}, documents=[{"image": "https://a.example:8443/c"}])
        for other in ("https://a.example/b", "http://a.example/b", "https://b.a.example:8443/", "http://2130706433/"):
            for body, place in (
                ({"query": "q", "documents": ["a", {"text": "b", "image": other}]}, "documents[1]"),
                ({"query": {"image": other}, "documents": ["a"]}, "query"),
                ({"text_1": [{"image": other}] * 2, "text_2": ["a", "b"]}, "query[0]"),
            ):
                path = "/score" if "text_1" in body else "/rerank"
                response = await client.post(path, json=body)
                assert response.status_code == 400
                assert response.json()["error"]["param"] == place
                assert "RERANK_IMAGE_HOSTS" in response.json()["error"]["message"]
                assert other not in response.text
    assert len(worker.scored) == 1
    assert worker.scored[0].body["text_1"] == [{"content": [listed]}]


async def test_an_image_that_no_worker_can_fetch_is_named_and_no_workers_fault():
    workers = [FakeVllm(multimodal=True, always=status(500, "Connection timeout")) for _ in range(2)]
    async with gateway(*workers, models=MODELS, image_hosts=("a.example",)) as client:
        for _ in range(10):
            body = {"query": "q", "documents": ["a", {"image": "https://a.example/b"}]}
            response = await client.post("/score", json={"text_1": body["query"], "text_2": body["documents"][1:]})
            assert response.status_code == 400
            assert response.json()["error"]["param"] == "documents[0]"
        for worker in workers:
            worker.always = None
        assert len((await ask(client, "/rerank", query="q", documents=["a"]))["results"]) == 1


async def test_no_image_and_no_address_of_one_is_logged():
    with logged() as out:
        async with gateway(FakeVllm(multimodal=True), models=MODELS, log_level="debug") as client:
            await ask(client, "/v1/rerank", query="q", documents=DOCUMENTS)
            for image in (url_of(b"no image"), "https://secret.example/b"):
                await client.post("/v1/rerank", json={"query": "q", "documents": [{"image": image}]})
        async with gateway(FakeVllm(), models=MODELS) as client:
            await client.post("/v1/rerank", json={"query": "q", "documents": DOCUMENTS})
    text = out.getvalue()
    assert text.count('"status":400') == 3
    assert not any(secret in text for secret in (BASE64, base64_of(b"no image"), "secret.example"))
