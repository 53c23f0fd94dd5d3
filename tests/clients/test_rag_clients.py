"""What the rerankers of RAG frameworks send and read, each as its own code does it.

Where a client lets its user choose the address, every address that its documentation or its default suggests is tried.
"""

from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from tests.fake_vllm import FakeVllm, score_of
from tests.running import gateway

MODEL = "tiny-reranker"
QUERY = "Was ist <Grünkohl> & wer isst ihn?"
TEXTS = [f"Text {number} über Kohl" for number in range(60)]
RANKED = sorted(range(len(TEXTS)), key=lambda index: -score_of(QUERY, TEXTS[index]))
SCORES = [score_of(QUERY, text) for text in TEXTS]
KEY = {"Authorization": "Bearer key"}


@pytest.fixture
def worker() -> FakeVllm:
    return FakeVllm()


async def jina(client: httpx.AsyncClient, *, model: str = MODEL, top_n: int | None = 3) -> list[tuple[int, float]]:
    """LangChain's and LlamaIndex's JinaRerank: no look at the status, the error's text is in `detail`."""
    body = {"query": QUERY, "documents": TEXTS, "model": model, "top_n": top_n}
    headers = {"Accept-Encoding": "identity", "Content-type": "application/json", "user-agent": "langchain"}
    answer = (await client.post("/v1/rerank", json=body, headers=KEY | headers)).json()
    if "results" not in answer:
        raise RuntimeError(answer["detail"])
    return [(result["index"], result["relevance_score"]) for result in answer["results"]]


async def dify_jina(client: httpx.AsyncClient, base: str, top_n: int | None) -> list[tuple[str, float]]:
    """Dify's Jina provider: `top_n` may be null, texts are its own."""
    body = {"model": MODEL, "query": QUERY, "documents": TEXTS, "top_n": top_n, "return_documents": False}
    response = await client.post(base.removesuffix("/") + "/rerank", json=body, headers=KEY)
    response.raise_for_status()
    return [(TEXTS[result["index"]], result["relevance_score"]) for result in response.json()["results"]]


async def dify_openai_compatible(client: httpx.AsyncClient, base: str) -> list[tuple[str, float]]:
    """Dify's OpenAI-compatible provider: wants texts back, and stretches the scores to 0..1."""
    body = {"model": MODEL, "query": QUERY, "documents": TEXTS, "top_n": 4, "return_documents": True}
    response = await client.post(base + "/rerank", json=body, headers=KEY)
    response.raise_for_status()
    results = response.json()["results"]
    scores = [result["relevance_score"] for result in results]
    spread = max(scores) - min(scores)
    return [
        (result["document"]["text"], (score - min(scores)) / spread)
        for result, score in zip(results, scores, strict=True)
    ]


async def open_webui(client: httpx.AsyncClient, path: str) -> list[float]:
    """Open WebUI's external reranker: the full URL, scores by index, one per document."""
    body = {"model": MODEL, "query": QUERY, "documents": TEXTS, "top_n": len(TEXTS)}
    response = await client.post(path, json=body, headers=KEY | {"X-OpenWebUI-User-Name": "J%C3%BCrgen"})
    response.raise_for_status()
    return [result["relevance_score"] for result in sorted(response.json()["results"], key=lambda row: row["index"])]


async def ragflow(client: httpx.AsyncClient, path: str) -> tuple[list[float], int]:
    """RAGFlow's Jina-like rerankers: scores by index, tokens from `usage`."""
    body = {"model": MODEL, "query": QUERY, "documents": TEXTS, "top_n": len(TEXTS)}
    answer = (await client.post(path, json=body, headers=KEY)).json()
    rank = [0.0] * len(TEXTS)
    for result in answer["results"]:
        rank[result["index"]] = result["relevance_score"]
    return rank, answer["usage"]["total_tokens"]


async def litellm(
    client: httpx.AsyncClient, path: str, documents: Sequence[Any] = TEXTS, **more: Any
) -> list[dict[str, Any]]:
    """litellm's rerank to cohere, jina_ai and hosted_vllm: wants documents back unless told otherwise."""
    body = {"model": MODEL, "query": QUERY, "documents": documents, "return_documents": True} | more
    response = await client.post(path, json=body, headers=KEY | {"accept": "application/json"})
    response.raise_for_status()
    answer = response.json()
    assert isinstance(answer["id"], str)
    # Of meta it reads these, as objects, and no others; its usage has room for whole numbers only.
    assert all(isinstance(answer["meta"][name], dict) for name in ("api_version", "billed_units"))
    assert all(isinstance(value, int) for value in answer["usage"].values())
    results: list[dict[str, Any]] = answer["results"]
    assert all(result.get("document", {"text": ""})["text"] is not None for result in results)
    return results


async def litellm_huggingface(client: httpx.AsyncClient) -> list[tuple[int, float, str]]:
    """litellm's rerank to a TEI server."""
    cut = {"raw_scores": False, "truncate": False, "truncation_direction": "Right"}
    body = cut | {"query": QUERY, "texts": TEXTS, "return_text": True, "top_n": 3}
    response = await client.post("/rerank", json=body, headers=KEY)
    response.raise_for_status()
    return [(row["index"], row["score"], row["text"]) for row in response.json()]


@pytest.mark.parametrize("top_n", [3, None])
async def test_langchain_and_llamaindex_read_a_ranking(worker: FakeVllm, top_n: int | None):
    async with gateway(worker, api_keys={"rag": "key"}) as client:
        assert await jina(client, top_n=top_n) == [(index, SCORES[index]) for index in RANKED[:top_n]]


async def test_langchain_and_llamaindex_show_why_there_is_no_ranking(worker: FakeVllm):
    async with gateway(worker) as client:
        with pytest.raises(RuntimeError, match=r"jina-reranker-v1-base-en.*there is tiny-reranker"):
            await jina(client, model="jina-reranker-v1-base-en")
    async with gateway(FakeVllm(), api_keys={"rag": "other"}) as client:
        with pytest.raises(RuntimeError, match="API key"):
            await jina(client)


async def test_a_model_of_theirs_can_be_an_alias(worker: FakeVllm):
    models = {MODEL: {"aliases": ["jina-reranker-v1-base-en"]}}
    async with gateway(worker, models=models) as client:
        assert len(await jina(client, model="jina-reranker-v1-base-en")) == 3


@pytest.mark.parametrize("base", ["", "/v1", "/v1/", "/v2"])
async def test_dify_reads_a_ranking(worker: FakeVllm, base: str):
    async with gateway(worker, api_keys={"rag": "key"}) as client:
        for top_n in (None, 5):
            best = [(TEXTS[index], SCORES[index]) for index in RANKED[:top_n]]
            assert await dify_jina(client, base, top_n) == best


@pytest.mark.parametrize("base", ["", "/v1"])
async def test_dify_gets_its_texts_back(worker: FakeVllm, base: str):
    async with gateway(worker, api_keys={"rag": "key"}) as client:
        ranked = await dify_openai_compatible(client, base)
    assert [text for text, _ in ranked] == [TEXTS[index] for index in RANKED[:4]]
    assert [score for _, score in ranked][::3] == [1.0, 0.0]


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank", "/v1/rerank/"])
async def test_open_webui_and_ragflow_get_a_score_for_every_document(worker: FakeVllm, path: str):
    async with gateway(worker, api_keys={"rag": "key"}) as client:
        assert await open_webui(client, path) == SCORES
        tokens = sum(len(QUERY.split()) + len(text.split()) for text in TEXTS)
        assert await ragflow(client, path) == (SCORES, tokens)


@pytest.mark.parametrize(
    ("path", "more", "returned"),
    [
        ("/v1/rerank", {}, True),  # cohere, jina_ai
        ("/rerank", {"max_tokens_per_doc": 4096, "truncation_side": "right"}, True),  # hosted_vllm
        ("/rerank", {"return_documents": False}, False),
        ("/v2/rerank", {"max_tokens_per_doc": 4096, "rank_fields": ["text"]}, False),  # cohere's newer models
    ],
)
async def test_litellm_reads_a_ranking(worker: FakeVllm, path: str, more: dict[str, Any], returned: bool):  # noqa: FBT001 - parametrized
    async with gateway(worker, api_keys={"rag": "key"}) as client:
        results = await litellm(client, path, top_n=10, **more)
    assert [result["index"] for result in results] == RANKED[:10]
    assert [result.get("document") for result in results] == [
        {"text": TEXTS[index]} if returned else None for index in RANKED[:10]
    ]


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank"])
async def test_litellm_may_send_texts_as_objects(worker: FakeVllm, path: str):
    async with gateway(worker, api_keys={"rag": "key"}) as client:
        results = await litellm(client, path, [{"text": text} for text in TEXTS])
    assert [result["index"] for result in results] == RANKED


async def test_litellm_reads_tei(worker: FakeVllm):
    async with gateway(worker, api_keys={"rag": "key"}) as client:
        assert await litellm_huggingface(client) == [(index, SCORES[index], TEXTS[index]) for index in RANKED[:3]]
