"""Searches of pymilvus in milvus-lite, reranked by a gateway: the whole way, nothing scripted but the worker."""

import math
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from tests.clients.background import gateway_in_background
from tests.fake_vllm import FakeVllm, altered, score_of, status

pytest.importorskip(
    "milvus_lite",
    reason="milvus-lite needs faiss-cpu and pyarrow, which have no wheels for this platform",
    exc_type=ImportError,
)

from milvus_lite import server_manager_instance  # type: ignore[import-untyped]  # ships no types
from pymilvus import (  # type: ignore[import-untyped]  # ships no types
    AnnSearchRequest,
    DataType,
    Function,
    FunctionType,
    MilvusClient,
    MilvusException,
)

COLLECTION = "docs"
DIMENSIONS = 4
AUTHORS = 7
TEXTS = [f"document {number} about wind, sun & water <{number}>" for number in range(60)]
# milvus-lite hands ten times as many hits to the reranker.
LIMIT = len(TEXTS) // 10


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusClient]:
    """A collection with two vectors and a text per document."""
    path = str(tmp_path_factory.mktemp("milvus") / "lite.db")
    client = MilvusClient(path)
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=1000)
    schema.add_field("author", DataType.INT64)
    index = client.prepare_index_params()
    for name in ("one", "other"):
        schema.add_field(name, DataType.FLOAT_VECTOR, dim=DIMENSIONS)
        index.add_index(name, index_type="FLAT", metric_type="COSINE")
    client.create_collection(COLLECTION, schema=schema, index_params=index)
    rng = Random(7)
    client.insert(
        COLLECTION,
        [
            {"id": key, "text": text, "author": key % AUTHORS, "one": vector(rng), "other": vector(rng)}
            for key, text in enumerate(TEXTS)
        ],
    )
    yield client
    client.close()
    server_manager_instance.release_server(path)


def vector(rng: Random) -> list[float]:
    return [rng.uniform(-1, 1) for _ in range(DIMENSIONS)]


def reranker(url: str, *queries: str, model: str = "tiny-reranker", key: str = "key") -> Function:
    params = {"reranker": "model", "provider": "cohere", "model_name": model, "base_url": url, "api_key": key}
    return Function(
        name="reranker",
        input_field_names=["text"],
        function_type=FunctionType.RERANK,
        params=params | {"queries": list(queries)},
    )


def search(
    milvus: MilvusClient, ranker: Function, *, vectors: int = 1, limit: int = LIMIT, **more: Any
) -> list[list[Any]]:
    rng = Random(11)
    found: list[list[Any]] = milvus.search(
        COLLECTION,
        data=[vector(rng) for _ in range(vectors)],
        anns_field="one",
        limit=limit,
        output_fields=["text", "author"],
        ranker=ranker,
        **more,
    )
    return found


def check_ranking(hits: list[Any], query: str) -> None:
    """The hits are the best of all documents, by the worker's scores."""
    best = sorted(range(len(TEXTS)), key=lambda key: -score_of(query, TEXTS[key]))[: len(hits)]
    assert [hit["id"] for hit in hits] == best
    for hit in hits:
        assert math.isclose(hit["distance"], score_of(query, TEXTS[hit["id"]]), rel_tol=1e-6)


@pytest.mark.parametrize("path", ["", "/v1", "/v2", "/v1/"])
def test_a_search_is_ranked_by_the_gateway(milvus: MilvusClient, path: str):
    workers = FakeVllm(), FakeVllm()
    with gateway_in_background(*workers, api_keys={"milvus": "key"}, max_batch=8, min_batch=1) as url:
        (hits,) = search(milvus, reranker(url + path, "renewable energy"))
    check_ranking(hits, "renewable energy")
    assert len(hits) == LIMIT
    asked = [document for worker in workers for call in worker.scored for document in call.documents]
    assert sorted(asked) == sorted(TEXTS)
    assert all(worker.scored for worker in workers)


def test_each_query_of_a_search_gets_a_ranking_of_its_own(milvus: MilvusClient):
    with gateway_in_background(FakeVllm()) as url:
        found = search(milvus, reranker(url, "wind", "sun"), vectors=2)
    check_ranking(found[0], "wind")
    check_ranking(found[1], "sun")


def test_a_hybrid_search_is_ranked_by_the_gateway(milvus: MilvusClient):
    rng = Random(11)
    with gateway_in_background(FakeVllm()) as url:
        (hits,) = milvus.hybrid_search(
            COLLECTION,
            [AnnSearchRequest([vector(rng)], field, {}, limit=len(TEXTS)) for field in ("one", "other")],
            ranker=reranker(url + "/v1", "wind"),
            limit=10,
        )
    assert len(hits) == 10
    check_ranking(hits, "wind")


def test_the_embedded_worker_finds_the_document_that_was_asked_for(milvus: MilvusClient):
    with gateway_in_background() as url:
        (hits,) = search(milvus, reranker(url, "what does document 42 say?", model="lexical"))
    assert hits[0]["entity"]["text"] == TEXTS[42]
    assert hits[0]["distance"] > hits[1]["distance"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"key": "wrong"}, "401: .*This API key is wrong"),
        ({"model": "nope"}, "404: .*there is tiny-reranker"),
    ],
)
def test_the_user_reads_what_is_wrong(milvus: MilvusClient, more: dict[str, str], told: str):
    with (
        gateway_in_background(FakeVllm(), api_keys={"milvus": "key"}) as url,
        pytest.raises(MilvusException, match=told),
    ):
        search(milvus, reranker(url, "wind", **more))


def test_a_search_fails_rather_than_rank_by_half_the_scores(milvus: MilvusClient):
    worker = FakeVllm(always=status(500, "out of memory"))
    with (
        gateway_in_background(worker, max_attempts=1) as url,
        pytest.raises(MilvusException, match=r"503: .*out of memory"),
    ):
        search(milvus, reranker(url, "wind"))


def test_a_grouped_search_has_its_groups_in_the_order_of_their_best_documents(milvus: MilvusClient):
    settings: dict[str, Any] = {"models": {"tiny-reranker": {"score_scale": "logit", "normalize": "sigmoid"}}}
    # Nearly all below 0, as logits are.
    with gateway_in_background(FakeVllm(always=altered(lowered)), **settings) as url:
        (hits,) = search(milvus, reranker(url, "wind"), limit=4, group_by_field="author", group_size=2)
    groups = [hit["entity"]["author"] for hit in hits]
    assert groups == [author for author in dict.fromkeys(groups) for _ in range(2)]
    distances = [hit["distance"] for hit in hits]
    assert distances[::2] == sorted(distances[::2], reverse=True)
    assert all(first > second > 0 for first, second in zip(distances[::2], distances[1::2], strict=True))


def lowered(answer: dict[str, Any]) -> None:
    for row in answer["data"]:
        row["score"] = 10 * (row["score"] - 1)
