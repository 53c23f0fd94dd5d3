"""What holds in every dialect: how many results, in which order, with or without documents."""

from typing import Any

import httpx
import pytest

from tests.contract.asking import BEST, DOCUMENTS, answer_of, ask, ranked, results
from tests.fake_vllm import FakeVllm, score_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("top_n", "rows"),
    [(None, 5), (0, 5), (1, 1), (3, 3), (5, 5), (6, 5), (10**30, 5), ("2", 2), (2.0, 2), (True, 1)],
)
@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_top_n_keeps_the_best_and_null_zero_or_more_than_there_are_means_all(
    path: str, top_n: Any, rows: int, client: httpx.AsyncClient
):
    answer = await answer_of(client, path, query="q", documents=DOCUMENTS, top_n=top_n)
    assert [row["index"] for row in answer["results"]] == BEST[:rows]


@pytest.mark.parametrize("top_n", [-1, 2.5, "x", [1], float("1e300")])
@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_a_top_n_that_is_no_number_of_documents_is_a_400(path: str, top_n: Any, client: httpx.AsyncClient):
    response = await ask(client, path, query="q", documents=DOCUMENTS, top_n=top_n)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "top_n"


@pytest.mark.parametrize(("top_k", "rows"), [(None, 5), (0, 5), (2, 2), (9, 5)])
async def test_voyages_top_k_is_a_top_n(top_k: int | None, rows: int, client: httpx.AsyncClient):
    answer = await answer_of(client, "/v1/rerank", query="q", documents=DOCUMENTS, top_k=top_k)
    assert [row["index"] for row in answer["data"]] == BEST[:rows]


async def test_cohere_v1s_top_n_is_one_too(client: httpx.AsyncClient):
    answer = await answer_of(client, "/rerank", query="q", documents=DOCUMENTS, rank_fields=["text"], top_n=2)
    assert [row["index"] for row in answer["results"]] == BEST[:2]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        # As Xinference's client sends it.
        ("/v1/rerank", {"documents": DOCUMENTS, "max_chunks_per_doc": None, "return_documents": None}),
        ("/v1/rerank", {"documents": DOCUMENTS, "rank_fields": ["text"], "return_documents": None}),
        ("/v1/rerank", {"documents": DOCUMENTS, "truncation": None, "return_documents": None}),
        ("/infinity/rerank", {"documents": DOCUMENTS, "return_documents": None, "raw_scores": None}),
        ("/rerank", {"texts": DOCUMENTS, "return_text": None, "raw_scores": None}),
        ("/v1/reranking", {"input": DOCUMENTS, "return_input": None}),
    ],
)
async def test_a_flag_that_is_null_is_as_if_it_were_absent(path: str, body: dict[str, Any], client: httpx.AsyncClient):
    response = await ask(client, path, query="q", **body)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank", "/score"])
async def test_a_top_n_in_the_query_string_would_shift_milvus_scores_and_is_refused(
    path: str, client: httpx.AsyncClient, worker: FakeVllm
):
    asked = len(worker.scored)
    response = await ask(client, f"{path}?top_n=3", query="q", documents=DOCUMENTS)
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "top_n can't be set in the query string: send it in the body"
    assert len(worker.scored) == asked


async def test_ties_stand_in_the_order_of_the_request(client: httpx.AsyncClient):
    answer = await answer_of(client, "/rerank", query="q", documents=["b", "a", "b", "a", "b"])
    tied = {"a": [1, 3], "b": [0, 2, 4]}
    first, second = sorted(tied, key=lambda text: -score_of("q", text))
    assert [row["index"] for row in answer["results"]] == tied[first] + tied[second]


@pytest.mark.parametrize("wanted", [None, True, False])
@pytest.mark.parametrize(
    ("path", "more", "by_default"),
    [
        ("/rerank", {}, False),
        ("/v1/rerank", {}, True),
        ("/v1/rerank", {"rank_fields": ["text"]}, False),
        ("/v1/rerank", {"top_k": 5}, False),
        ("/rerank?dialect=vllm", {}, False),
        ("/v1/rerank?dialect=vllm", {}, True),
        ("/v1/rerank?dialect=sglang", {}, False),
    ],
)
async def test_documents_are_returned_when_asked_for_and_by_default_only_where_clients_expect_them(
    path: str, more: dict[str, Any], by_default: Any, wanted: Any, client: httpx.AsyncClient
):
    asked = {} if wanted is None else {"return_documents": wanted}
    answer = await answer_of(client, path, query="q", documents=DOCUMENTS, **more, **asked)
    rows = answer if isinstance(answer, list) else answer.get("results", answer.get("data"))
    expected = by_default if wanted is None else wanted
    # Absent, and never null: clients break on `document: null`.
    assert [("document" in row) for row in rows] == [expected] * 5
    assert all(row.get("document", "absent") is not None for row in rows)


@pytest.mark.parametrize("value", ["true", "1", "yes"])
async def test_the_query_string_can_ask_for_documents(value: str, client: httpx.AsyncClient):
    answer = await answer_of(client, f"/rerank?return_documents={value}", query="q", documents=DOCUMENTS)
    assert answer == results(ranked("relevance_score", document=[{"text": text} for text in DOCUMENTS]))


async def test_the_query_string_can_ask_for_none(client: httpx.AsyncClient):
    answer = await answer_of(client, "/v1/rerank?return_documents=false", query="q", documents=DOCUMENTS)
    assert answer == results(ranked("relevance_score"))
