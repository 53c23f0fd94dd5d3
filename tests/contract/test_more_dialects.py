"""Infinity, NVIDIA, Mixedbread, Weaviate and two of Milvus's providers: what they send, and what they read."""

from typing import Any

import httpx
import pytest

from tests.contract.asking import DOCUMENTS, OBJECTS, TOKENS, answer_of, ask, ranked, results, usage
from tests.fake_vllm import FakeVllm, score_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

IN_ORDER = [score_of("q", text) for text in DOCUMENTS]
TEXTS = [{"text": text} for text in DOCUMENTS]


@pytest.mark.parametrize("path", ["/infinity/rerank", "/infinity/v1/rerank", "/rerank?dialect=infinity"])
async def test_infinity_gets_documents_as_plain_strings_and_only_on_request(path: str, client: httpx.AsyncClient):
    assert await answer_of(client, path, query="q", documents=DOCUMENTS) == results(ranked("relevance_score"))
    answer = await answer_of(client, path, query="q", documents=DOCUMENTS, return_documents=True, top_n=2)
    assert answer == results(ranked("relevance_score", document=DOCUMENTS)[:2], tokens=answer["usage"]["total_tokens"])


async def test_infinitys_raw_scores_are_logits(client: httpx.AsyncClient, worker: FakeVllm):
    await answer_of(client, "/infinity/rerank", query="raw", documents=DOCUMENTS, raw_scores=True)
    assert worker.scored[-1].body["use_activation"] is False


@pytest.mark.parametrize("path", ["/v1/ranking", "/ranking", "/v1/retrieval/nvidia/rerank/reranking", "/nvidia/rerank"])
async def test_nvidia_gets_rankings_with_logits(path: str, client: httpx.AsyncClient, worker: FakeVllm):
    answer = await answer_of(client, path, model="tiny-reranker", query={"text": "q"}, passages=TEXTS, truncate="END")
    assert answer.pop("usage").keys() == usage().keys()
    assert answer == {"rankings": ranked("logit")}
    assert worker.scored[-1].body["use_activation"] is False


async def test_nvidia_may_write_plain_strings_and_want_fewer(client: httpx.AsyncClient):
    answer = await answer_of(client, "/v1/ranking", query="q", passages=DOCUMENTS, top_n=1)
    assert answer["rankings"] == ranked("logit")[:1]


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"passages": [{"text": "a"}, {"picture": "b"}]}, "passages[1]", "an object with other keys"),
        ({"passages": ["a", "b", 7]}, "passages[2]", "passages[2] is a number"),
        ({"passages": [None]}, "passages[0]", "passages[0] is null"),
        ({"passages": [{"text": None}]}, "passages[0]", 'send a string, {"text": "..."} or'),
        ({"passages": []}, "passages", "send at least one document"),
        ({"passages": {"text": "a"}}, "passages", "must be a list of strings"),
        ({"passages": ["a"], "query": {"image": "b"}}, "query.image", "not base64"),
        ({"passages": ["a"], "query": None}, "query", "query is null"),
        ({"passages": ["a"], "truncate": "MIDDLE"}, "truncate", "'NONE' or 'END'"),
        ({}, "passages", "Field required"),
    ],
)
async def test_nvidias_odd_passages_are_named(body: dict[str, Any], param: str, told: str, client: httpx.AsyncClient):
    response = await ask(client, "/v1/ranking", **{"query": {"text": "q"}} | body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert told in response.json()["error"]["message"]
    assert response.json()["detail"] == response.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/reranking", "/rerank", "/mixedbread/rerank", "/v1/rerank?dialect=mixedbread"])
async def test_mixedbread_gets_data(path: str, client: httpx.AsyncClient):
    answer = await answer_of(client, path, model="tiny-reranker", query="q", input=DOCUMENTS, top_k=2)
    assert answer == {
        "object": "list",
        "model": "tiny-reranker",
        "data": ranked("score")[:2],
        "usage": usage(answer["usage"]["total_tokens"]),
        "top_k": 2,
        "return_input": False,
    }


async def test_mixedbread_gets_its_input_back_as_it_was_sent(client: httpx.AsyncClient):
    answer = await answer_of(client, "/v1/reranking", query="q", input=DOCUMENTS, return_input=True)
    assert answer["data"] == ranked("score", input=DOCUMENTS)
    assert answer["return_input"] is True
    answer = await answer_of(
        client, "/v1/reranking", query="q", input=OBJECTS, rank_fields=["title", "text"], return_input=True
    )
    assert {row["index"]: row["input"] for row in answer["data"]} == dict(enumerate(OBJECTS))
    assert answer["data"][0]["score"] == max(score_of("q", "alpha\none"), score_of("q", "beta\ntwo"))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": ["a", 7]}, "input[1]"),
        ({"input": [{"title": "a"}]}, "input[0]"),
        ({"input": []}, "input"),
        ({"input": ["a"], "top_k": -1}, "top_k"),
        ({}, "input"),
    ],
)
async def test_mixedbreads_odd_input_is_named(body: dict[str, Any], param: str, client: httpx.AsyncClient):
    response = await ask(client, "/v1/reranking", query="q", **body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize("more", [{"property": ""}, {"property": "content", "top_n": 1, "return_documents": False}])
async def test_weaviate_gets_all_scores_in_the_order_of_the_request(more: dict[str, Any], client: httpx.AsyncClient):
    # It sends 32 documents at a time and gives score i to document i.
    answer = await answer_of(client, "/rerank", query="q", documents=DOCUMENTS, **more)
    rows = [{"document": text, "score": score} for text, score in zip(DOCUMENTS, IN_ORDER, strict=True)]
    assert answer == {"query": "q", "scores": rows}


@pytest.mark.parametrize(
    ("documents", "told"),
    [
        (["a", 7], "documents[1] is a number"),
        (["a", "b", {"title": "c"}], "documents[2] is an object with other keys"),
        ([None], "documents[0] is null"),
        (None, "documents must be a list of strings"),
    ],
)
async def test_weaviates_odd_documents_are_named_in_an_error_that_is_a_text(
    documents: Any, told: str, client: httpx.AsyncClient
):
    response = await ask(client, "/rerank", query="q", documents=documents, property="")
    assert response.status_code == 400
    # Weaviate decodes `error` as a string and shows it.
    assert response.json()["error"].startswith(told)


@pytest.mark.parametrize("path", ["/rerank", "/ali/rerank", "/v1/rerank"])
async def test_milvuss_ali_gets_output_and_usage(path: str, client: httpx.AsyncClient):
    body = {"model": "tiny-reranker", "input": {"query": "q", "documents": DOCUMENTS}}
    answer = await answer_of(client, path, **body)
    assert answer == {
        "output": {"results": ranked("relevance_score")},
        "usage": {"total_tokens": answer["usage"]["total_tokens"]},
        "request_id": "id-1",
    }
    assert answer["usage"]["total_tokens"] in {0, TOKENS}


async def test_dashscopes_parameters_count(client: httpx.AsyncClient):
    body = {"input": {"query": "q", "documents": DOCUMENTS}, "parameters": {"top_n": 2, "return_documents": True}}
    answer = await answer_of(client, "/rerank", **body)
    assert answer["output"]["results"] == ranked("relevance_score", document=TEXTS)[:2]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": {"query": "q", "documents": ["a", 7]}}, "documents[1]"),
        ({"input": {"query": "q"}}, "input.documents"),
        ({"input": {"query": 7, "documents": ["a"]}}, "input.query"),
        ({"input": {"query": "q", "documents": ["a"]}, "parameters": {"top_n": -1}}, "parameters.top_n"),
    ],
)
async def test_alis_odd_input_is_named(body: dict[str, Any], param: str, client: httpx.AsyncClient):
    response = await ask(client, "/rerank", **body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize(
    "path",
    [
        "/hf-inference/models/tiny-reranker/pipeline/sentence-similarity",
        "/models/tiny-reranker/pipeline/sentence-similarity",
        "/pipeline/sentence-similarity",
        "/rerank",
    ],
)
async def test_milvuss_huggingface_gets_scores_in_the_order_of_the_request(path: str, client: httpx.AsyncClient):
    inputs = {"source_sentence": "q", "sentences": DOCUMENTS}
    assert await answer_of(client, path, inputs=inputs) == IN_ORDER


async def test_huggingfaces_odd_sentences_are_named(client: httpx.AsyncClient):
    for sentences, told in (
        (["a", 7], "inputs.sentences[1]: "),
        ([], "inputs.sentences: "),
        (None, "inputs.sentences: "),
    ):
        inputs = {"source_sentence": "q", "sentences": sentences}
        response = await ask(client, "/pipeline/sentence-similarity", inputs=inputs)
        assert response.status_code == 400
        assert response.json()["error"].startswith(told)


async def test_teis_top_n_counts(client: httpx.AsyncClient):
    # As LiteLLM's provider huggingface sends it.
    assert await answer_of(client, "/rerank", query="q", texts=DOCUMENTS, top_n=2) == ranked("score")[:2]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rerank", {"query": "q", "documents": "DOCUMENTS"}),
        ("/rerank", {"query": "q", "texts": "DOCUMENTS"}),
        ("/v1/ranking", {"query": "q", "passages": "DOCUMENTS"}),
        ("/v1/reranking", {"query": "q", "input": "DOCUMENTS"}),
        ("/rerank", {"input": {"query": "q", "documents": "DOCUMENTS"}}),
        ("/rerank", {"inputs": {"source_sentence": "q", "sentences": "DOCUMENTS"}}),
        ("/score", {"queries": "DOCUMENTS", "items": ["a"]}),
        ("/score", {"text_1": "q", "text_2": "DOCUMENTS"}),
    ],
    ids=["vllm", "tei", "nvidia", "mixedbread", "ali", "huggingface", "queries", "score"],
)
async def test_too_many_texts_are_refused_before_they_are_looked_at(
    path: str, body: dict[str, Any], client: httpx.AsyncClient
):
    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(one) for name, one in value.items()}
        return [0] * 20_001 if value == "DOCUMENTS" else value

    response = await client.post(path, json=filled(body))
    assert response.status_code == 400
    assert "20001 documents are more than the 20000 one request may have" in response.text
