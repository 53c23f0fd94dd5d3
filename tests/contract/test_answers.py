"""What each dialect's answer has, key by key."""

from typing import Any

import httpx
import pytest

from tests.contract.asking import DOCUMENTS, OBJECTS, TOKENS, answer_of, ask, ranked, results, usage
from tests.fake_vllm import FakeVllm, score_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_vllm_and_jina_get_results_with_documents_on_v1(client: httpx.AsyncClient):
    answer = await answer_of(client, "/v1/rerank", query="q", documents=DOCUMENTS)
    assert answer == results(ranked("relevance_score", document=[{"text": text} for text in DOCUMENTS]))


async def test_milvus_gets_results_without_documents_on_the_plain_path(client: httpx.AsyncClient):
    answer = await answer_of(client, "/rerank", query="q", documents=DOCUMENTS)
    assert answer == results(ranked("relevance_score"))


async def test_text_objects_are_their_text(client: httpx.AsyncClient):
    answer = await answer_of(client, "/v1/rerank", query="q", documents=[{"text": text} for text in DOCUMENTS])
    assert answer == results(ranked("relevance_score", document=[{"text": text} for text in DOCUMENTS]))


async def test_cohere_v2_gets_results_and_never_a_document(client: httpx.AsyncClient):
    answer = await answer_of(
        client, "/v2/rerank", model="tiny-reranker", query="q", documents=DOCUMENTS, return_documents=True
    )
    assert answer == results(ranked("relevance_score"), version="2")


async def test_cohere_v2_needs_no_model(client: httpx.AsyncClient):
    answer = await answer_of(client, "/v2/rerank", query="q", documents=DOCUMENTS)
    assert answer == results(ranked("relevance_score"), version="2")


async def test_tei_gets_a_bare_list(client: httpx.AsyncClient):
    assert await answer_of(client, "/rerank", query="q", texts=DOCUMENTS) == ranked("score")


async def test_tei_gets_its_texts_when_it_asks_for_them(client: httpx.AsyncClient):
    answer = await answer_of(client, "/rerank", query="q", texts=DOCUMENTS, return_text=True)
    assert answer == ranked("score", text=DOCUMENTS)


async def test_voyage_gets_data(client: httpx.AsyncClient):
    answer = await answer_of(client, "/v1/rerank", query="q", documents=DOCUMENTS, top_k=None)
    assert answer == {
        "object": "list",
        "data": ranked("relevance_score"),
        "model": "tiny-reranker",
        "usage": {"total_tokens": TOKENS},
    }


async def test_voyage_gets_its_documents_as_plain_strings(client: httpx.AsyncClient):
    answer = await answer_of(client, "/v1/rerank", query="q", documents=DOCUMENTS, top_k=0, return_documents=True)
    assert answer["data"] == ranked("relevance_score", document=DOCUMENTS)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
async def test_sglang_gets_a_bare_list_without_documents(path: str, client: httpx.AsyncClient):
    answer = await answer_of(client, f"{path}?dialect=sglang", model="tiny-reranker", query="q", documents=DOCUMENTS)
    assert answer == ranked("score")


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
async def test_score_gets_scores_in_the_order_of_the_request(path: str, client: httpx.AsyncClient):
    answer = await answer_of(client, path, text_1="q", text_2=DOCUMENTS)
    created = answer.pop("created")
    assert type(created) is int
    assert created > 1_700_000_000
    assert answer == {
        "id": "score-id-1",
        "object": "list",
        "model": "tiny-reranker",
        "data": [
            {"index": index, "object": "score", "score": score_of("q", text)} for index, text in enumerate(DOCUMENTS)
        ],
        "usage": usage(),
    }


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        (["title", "text"], ["alpha\none", "beta\ntwo"]),
        (["text", "title"], ["one\nalpha", "two\nbeta"]),
        (["title", "stars"], ["alpha\n3", "beta"]),
        (["missing", "title"], ["alpha", "beta"]),
        (None, ["one", "two"]),
        ([], ["one", "two"]),
    ],
    ids=["two fields", "their order", "numbers and null", "a missing field", "text by default", "none named"],
)
async def test_cohere_v1_ranks_by_the_named_fields_joined_in_their_order(
    fields: list[str] | None, texts: list[str], client: httpx.AsyncClient, worker: FakeVllm
):
    answer = await answer_of(client, "/v1/rerank", query="q", documents=OBJECTS, rank_fields=fields)
    assert worker.scored[-1].documents == texts
    scores = [score_of("q", text) for text in texts]
    best = sorted(range(2), key=lambda index: -scores[index])
    tokens = answer["usage"]["total_tokens"]
    assert answer == results([{"index": index, "relevance_score": scores[index]} for index in best], tokens=tokens)


async def test_cohere_v1_gets_the_objects_back_that_it_sent_and_texts_as_objects(client: httpx.AsyncClient):
    documents = [*OBJECTS, "plain"]
    answer = await answer_of(
        client, "/rerank", query="q", documents=documents, rank_fields=["title"], return_documents=True
    )
    by_index = {row["index"]: row["document"] for row in answer["results"]}
    assert by_index == {0: OBJECTS[0], 1: OBJECTS[1], 2: {"text": "plain"}}
    assert all(row.keys() == {"index", "relevance_score", "document"} for row in answer["results"])


async def test_a_returned_object_may_hold_any_number_json_can_write(client: httpx.AsyncClient):
    document = {"text": "a", "serial": 2**70, "small": -(2**70), "list": [1, 2.5, None, "ü"]}
    answer = await answer_of(client, "/rerank", query="q", documents=[document], return_documents=True)
    assert answer["results"][0]["document"] == document


async def test_a_cohere_v1_document_without_any_ranked_field_is_named(client: httpx.AsyncClient):
    response = await ask(
        client, "/v1/rerank", query="q", documents=[{"title": "a"}, {"body": "b"}], rank_fields=["title"]
    )
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "documents[1]"
    assert "none of the fields title: name its fields in rank_fields" in response.json()["error"]["message"]


async def test_cohere_counts_a_search_unit_per_hundred_documents(client: httpx.AsyncClient):
    answer = await answer_of(client, "/v1/rerank", query="q", documents=[str(number) for number in range(201)])
    assert answer["meta"]["billed_units"] == {"search_units": 3}


@pytest.mark.parametrize(
    ("one", "other"), [("text_1", "text_2"), ("data_1", "data_2"), ("queries", "documents"), ("queries", "items")]
)
@pytest.mark.parametrize(
    ("queries", "documents", "pairs"),
    [
        ("q", "a", [("q", "a")]),
        (["q"], "a", [("q", "a")]),
        ("q", ["a"], [("q", "a")]),
        ("q", ["a", "b", "a"], [("q", "a"), ("q", "b"), ("q", "a")]),
        (["q"], ["a", "b"], [("q", "a"), ("q", "b")]),
        (["q", "r", "q"], ["a", "a", "b"], [("q", "a"), ("r", "a"), ("q", "b")]),
        (["q", "q"], ["a", "a"], [("q", "a"), ("q", "a")]),
    ],
    ids=["1:1", "[1]:1", "1:[1]", "1:N", "[1]:N", "N:N", "N:N all equal"],
)
async def test_score_takes_one_query_or_as_many_as_documents_under_all_four_names(
    one: str, other: str, queries: Any, documents: Any, pairs: list[tuple[str, str]], client: httpx.AsyncClient
):
    answer = await answer_of(client, "/v1/score", **{one: queries, other: documents})
    assert [row["index"] for row in answer["data"]] == list(range(len(pairs)))
    assert [row["score"] for row in answer["data"]] == [score_of(query, document) for query, document in pairs]


@pytest.mark.parametrize(
    ("queries", "documents"), [(["q", "r"], "a"), (["q", "r"], ["a"]), (["q", "r"], ["a", "b", "c"])]
)
async def test_score_refuses_pairs_that_do_not_pair_up(queries: Any, documents: Any, client: httpx.AsyncClient):
    response = await ask(client, "/score", queries=queries, documents=documents)
    assert response.status_code == 400
    told = f"2 queries and {len(documents)} documents: send 1:1, 1:N or N:N"
    assert response.json()["error"]["message"] == told


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"text_1": "q", "text_2": ["a", None]}, "text_2[1]", "text_2[1] is null: send a string"),
        ({"text_1": "q", "text_2": []}, "text_2", "send at least one text"),
        ({"text_1": [], "text_2": ["a"]}, "text_1", "send at least one text"),
        ({"text_1": 5, "text_2": ["a"]}, "text_1", "text_1 is a number: send a string"),
        ({"queries": ["q", 3], "documents": ["a", "b"]}, "queries[1]", "queries[1] is a number: send a string"),
        ({"queries": "q", "documents": [{"text": 5}]}, "documents[0]", "an object with other keys"),
        ({"text_1": "q", "data_2": ["a"]}, "text_1", "send text_1 and text_2, or queries and documents"),
    ],
)
async def test_score_names_the_text_at_fault(body: dict[str, Any], param: str, told: str, client: httpx.AsyncClient):
    response = await ask(client, "/v1/score", **body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert told in response.json()["error"]["message"]
