"""Which dialect a request is in: the path, the query string and the body's own fields tell."""

from typing import Any

import httpx
import pytest

from app.api import dialects
from app.errors import BadInput
from tests.contract.asking import DOCUMENTS, OBJECT, ask

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRINGS = {"query": "q", "documents": ["a"]}


@pytest.mark.parametrize(
    ("path", "asked", "body", "dialect"),
    [
        # Nothing gives it away: vLLM and Jina.
        ("/rerank", None, STRINGS, "vllm"),
        ("/v1/rerank", None, STRINGS, "vllm"),
        ("/rerank", None, {"query": "q", "documents": "a"}, "vllm"),
        ("/rerank", None, {"query": "q", "documents": [{"text": "a"}]}, "vllm"),
        ("/rerank", None, {"query": "q", "documents": [{"content": []}]}, "vllm"),
        ("/rerank", None, {"query": "q", "documents": [{"image": "a"}, {"text": "a", "image": "b"}]}, "vllm"),
        ("/rerank", None, STRINGS | {"top_n": 1, "return_documents": True, "max_tokens_per_doc": 9}, "vllm"),
        ("/rerank", None, {}, "vllm"),
        # The body's own fields.
        ("/rerank", None, STRINGS | {"rank_fields": ["a"]}, "cohere1"),
        ("/v1/rerank", None, STRINGS | {"max_chunks_per_doc": 9}, "cohere1"),
        ("/v1/rerank", None, STRINGS | {"max_chunks_per_doc": None, "rank_fields": None}, "vllm"),
        ("/rerank", None, {"query": "q", "documents": [OBJECT]}, "cohere1"),
        ("/v1/rerank", None, {"query": "q", "documents": ["a", OBJECT]}, "cohere1"),
        ("/rerank", None, {"query": "q", "documents": [{"text": "a", "title": "b"}]}, "cohere1"),
        ("/rerank", None, STRINGS | {"top_k": 1}, "voyage"),
        ("/v1/rerank", None, STRINGS | {"top_k": None}, "voyage"),
        ("/rerank", None, {"query": "q", "texts": ["a"]}, "tei"),
        ("/v1/rerank", None, {"query": "q", "texts": ["a"]}, "tei"),
        # Their order: texts, top_k, then Cohere's.
        ("/rerank", None, {"query": "q", "texts": ["a"], "top_k": 1, "rank_fields": ["a"]}, "tei"),
        ("/rerank", None, {"query": "q", "documents": [OBJECT], "top_k": 1, "rank_fields": ["a"]}, "voyage"),
        ("/rerank", None, STRINGS | {"texts": ["a"]}, "tei"),
        # Voyage's truncation is its alone; a null top_k beside a top_n isn't Voyage's.
        ("/rerank", None, STRINGS | {"truncation": True}, "voyage"),
        ("/rerank", None, STRINGS | {"truncation": None, "top_n": 1}, "voyage"),
        ("/rerank", None, STRINGS | {"top_k": None, "top_n": 1}, "vllm"),
        ("/v1/rerank", None, STRINGS | {"top_k": 2, "top_n": 1}, "voyage"),
        ("/rerank", None, {"query": "q", "texts": ["a"], "top_n": 1}, "tei"),
        # NVIDIA, Mixedbread, Weaviate, and two of Milvus's providers.
        ("/rerank", None, {"query": {"text": "q"}, "passages": [{"text": "a"}]}, "nvidia"),
        ("/rerank", None, {"query": "q", "input": ["a"], "top_k": 1, "rank_fields": ["a"]}, "mixedbread"),
        ("/rerank", None, STRINGS | {"property": ""}, "weaviate"),
        ("/rerank", None, {"model": "m", "input": STRINGS}, "ali"),
        ("/v1/rerank", None, {"inputs": {"source_sentence": "q", "sentences": ["a"]}}, "huggingface"),
        # Their own ends of paths, unless the body is another's.
        ("/v1/ranking", None, {}, "nvidia"),
        ("/v1/reranking", None, {}, "mixedbread"),
        ("/v1/reranking", None, {"query": {"text": "q"}, "passages": []}, "nvidia"),
        ("/pipeline/sentence-similarity", None, {}, "huggingface"),
        # The path wins over the body.
        ("/v2/rerank", None, STRINGS, "cohere2"),
        ("/v2/rerank", None, STRINGS | {"texts": ["a"], "top_k": 1, "rank_fields": ["a"]}, "cohere2"),
        ("/v2/rerank", None, {"query": "q", "documents": [OBJECT]}, "cohere2"),
        # The query string wins over everything.
        ("/v2/rerank", "vllm", STRINGS | {"texts": ["a"]}, "vllm"),
        ("/v2/rerank", "tei", STRINGS, "tei"),
        ("/rerank", "cohere1", {"query": "q", "texts": ["a"], "top_k": 1}, "cohere1"),
        ("/rerank", "cohere2", {"query": "q", "texts": ["a"], "top_k": 1}, "cohere2"),
        ("/rerank", "voyage", {"query": "q", "texts": ["a"]}, "voyage"),
        ("/rerank", "sglang", {"query": "q", "texts": ["a"], "top_k": 1}, "sglang"),
        ("/v1/rerank", "sglang", STRINGS, "sglang"),
        # /score is a shape of its own, whatever else is said.
        ("/score", None, STRINGS, "score"),
        ("/v1/score", "tei", {"texts": ["a"]}, "score"),
    ],
)
async def test_the_first_rule_that_fits_decides(path: str, asked: str | None, body: dict[str, Any], dialect: str):
    assert dialects.detect(path, asked, body).name == dialect


@pytest.mark.parametrize(
    ("prefix", "path", "asked", "dialect"),
    [
        ("voyage", "/rerank", None, "voyage"),
        ("voyage", "/v2/rerank", None, "voyage"),
        ("infinity", "/v1/rerank", None, "infinity"),
        ("jina", "/v1/rerank", None, "vllm"),
        ("cohere", "/rerank", None, "cohere1"),
        ("cohere", "/v1/rerank", None, "cohere1"),
        ("cohere", "/v2/rerank", None, "cohere2"),
        ("cohere1", "/v2/rerank", None, "cohere1"),
        ("voyage", "/v1/reranking", None, "voyage"),
        # The query string wins over the path, and the shape of pairs over both.
        ("voyage", "/rerank", "sglang", "sglang"),
        ("voyage", "/v1/score", None, "score"),
    ],
)
async def test_a_dialect_in_the_path_wins_over_the_rest_of_it_and_over_the_body(
    prefix: str, path: str, asked: str | None, dialect: str
):
    assert dialects.detect(path, asked, {"query": "q", "texts": ["a"]}, prefix).name == dialect


@pytest.mark.parametrize("asked", ["jina", "VLLM", "", "score"])
async def test_a_dialect_that_does_not_exist_is_refused_with_those_that_do(asked: str):
    with pytest.raises(
        BadInput,
        match="one of ali, cohere1, cohere2, huggingface, infinity, mixedbread, nvidia, sglang, tei, vllm, voyage",
    ) as caught:
        dialects.detect("/rerank", asked, {})
    assert caught.value.param == "dialect"


async def test_an_unknown_dialect_in_the_query_string_is_a_400(client: httpx.AsyncClient):
    response = await ask(client, "/rerank?dialect=jina", query="q", documents=DOCUMENTS)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "dialect"
