"""Milvus: its requests byte for byte, and answers that its client can't read wrong.

It gives the i-th score, by index, to the i-th document, and takes everything with status 200 for an answer.
"""

import json
import math
import struct
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from tests.fake_vllm import FakeVllm, Fault, altered, half, reset, score_of, status
from tests.running import gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

GO = {"User-Agent": "Go-http-client/1.1", "Content-Type": "application/json", "Accept-Encoding": "gzip"}
FIRST = b'{"documents":["renewable energy","a \\u003cb\\u003e \\u0026 c",""],"query":"energy \\u003e all"}'
TEXTS = ["renewable energy", "a <b> & c", ""]
QUERY = "energy > all"


async def ask(client: httpx.AsyncClient, content: bytes, path: str = "/rerank", **headers: str) -> httpx.Response:
    return await client.post(path, content=content, headers=GO | headers)


def as_milvus_reads(response: httpx.Response, documents: int) -> list[float]:
    """The scores by document, decoded as strictly as Go's decoder and Milvus's loop need it."""
    assert response.status_code == 200, response.text
    assert "location" not in response.headers
    answer = json.loads(response.content, parse_constant=_no_json)
    assert type(answer["usage"]["total_tokens"]) is int
    assert type(answer["id"]) is str
    assert type(answer["model"]) is str
    rows = answer["results"]
    assert sorted(row["index"] for row in rows) == list(range(documents))
    assert all(type(row["index"]) is int for row in rows)
    assert all(type(row["relevance_score"]) is float for row in rows)
    assert not any("document" in row for row in rows)
    scores = [row["relevance_score"] for row in sorted(rows, key=lambda row: row["index"])]
    assert all(math.isfinite(_float32(score)) and 0 <= score <= 1 for score in scores)
    return scores


def _no_json(constant: str) -> None:
    raise AssertionError(constant)


def _float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


@pytest.mark.parametrize("path", ["/rerank", "/v2/rerank", "/rerank/", "/v2/rerank/"])
async def test_milvus_26_and_30_get_a_score_for_every_document(path: str, client: httpx.AsyncClient):
    scores = as_milvus_reads(await ask(client, FIRST, path), 3)
    assert scores == [score_of(QUERY, text) for text in TEXTS]


async def test_what_milvus_sends_reaches_the_worker_unescaped(client: httpx.AsyncClient, worker: FakeVllm):
    await ask(client, FIRST)
    assert worker.scored[-1].body == {
        "model": "tiny-reranker",
        "text_1": QUERY,
        "text_2": TEXTS,
        "truncate_prompt_tokens": -1,
    }


@pytest.mark.parametrize("limit", [-1, 1, 512])
async def test_truncate_prompt_tokens_is_the_one_field_milvus_adds(
    limit: int, client: httpx.AsyncClient, worker: FakeVllm
):
    content = b'{"documents":["a","b"],"query":"q","truncate_prompt_tokens":%d}' % limit
    as_milvus_reads(await ask(client, content), 2)
    assert worker.scored[-1].body["truncate_prompt_tokens"] == limit


@pytest.mark.parametrize("limit", [-5, 0, 513])
async def test_a_truncation_no_model_can_do_is_an_error_that_says_so(limit: int, client: httpx.AsyncClient):
    response = await ask(client, b'{"documents":["a"],"query":"q","truncate_prompt_tokens":%d}' % limit)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "truncate_prompt_tokens"


async def test_the_endpoints_query_string_is_its_channel_for_one_collections_settings():
    first, second = FakeVllm(model="first"), FakeVllm(model="second")
    async with gateway(first, second) as client:
        response = await ask(client, FIRST, "/rerank?model=second&truncate_prompt_tokens=64")
    as_milvus_reads(response, 3)
    assert second.scored[0].body["truncate_prompt_tokens"] == 64
    assert not first.scored


@pytest.mark.parametrize("documents", [1, 31, 32, 33, 64, 65, 1000, 16384])
async def test_every_batch_size_up_to_milvus_largest_limit_is_answered_exactly(
    documents: int, client: httpx.AsyncClient
):
    texts = [f"text {number}" for number in range(documents)]
    content = json.dumps({"documents": texts, "query": "q"}, separators=(",", ":")).encode()
    assert as_milvus_reads(await ask(client, content), documents) == [score_of("q", text) for text in texts]


async def test_duplicates_by_text_keep_a_score_each(client: httpx.AsyncClient):
    texts = ["same", "other", "same", "same", ""] * 30
    content = json.dumps({"documents": texts, "query": "q"}).encode()
    assert as_milvus_reads(await ask(client, content), 150) == [score_of("q", text) for text in texts]


async def test_replaced_bytes_are_ordinary_text(client: httpx.AsyncClient):
    content = '{"documents":["a\ufffd\ufffdb","\\u0000"],"query":"\ufffd"}'.encode()
    assert as_milvus_reads(await ask(client, content), 2) == [
        score_of("\ufffd", "a\ufffd\ufffdb"),
        score_of("\ufffd", "\0"),
    ]


@pytest.mark.parametrize(
    ("header", "scheme"),
    [
        ("Bearer sekret", "vllm"),
        ("bearer sekret", "cohere"),
        ("Basic dXNlcjpzZWtyZXQ=", "user:sekret@ in the endpoint"),
    ],
)
async def test_milvus_credentials_are_taken_in_all_its_forms(header: str, scheme: str):  # noqa: ARG001 - names the case
    async with gateway(FakeVllm(), api_keys={"milvus": "sekret"}) as client:
        as_milvus_reads(await ask(client, FIRST, Authorization=header), 3)
        refused = await ask(client, FIRST)
    assert refused.status_code == 401


def by_index(rows: Sequence[dict[str, Any]], score: str) -> list[float]:
    assert all(row.keys() == {"index", score} for row in rows)
    return [row[score] for row in sorted(rows, key=lambda row: int(row["index"]))]


@pytest.mark.parametrize("more", [b"", b',"truncate":true', b',"truncate":true,"truncation_direction":"Left"'])
async def test_the_tei_provider_gets_a_bare_list_on_the_same_path(more: bytes, client: httpx.AsyncClient):
    response = await ask(client, b'{"query":"q","texts":["a","b",""]' + more + b"}")
    assert response.status_code == 200
    assert by_index(response.json(), "score") == [score_of("q", text) for text in ("a", "b", "")]


async def test_the_providers_with_a_url_of_their_own_get_what_they_read(client: httpx.AsyncClient):
    content = b'{"model":"tiny-reranker","query":"q","documents":["a","b",""]}'
    right = [score_of("q", text) for text in ("a", "b", "")]
    # cohere and siliconflow read results, voyageai reads data, sglang a bare list; their URLs are used as written.
    cohere = await ask(client, content, "/v1/rerank?return_documents=false", Authorization="bearer whatever")
    voyage = await ask(client, content, "/v1/rerank?dialect=voyage")
    sglang = await ask(client, content, "/v1/rerank?dialect=sglang")
    assert by_index(cohere.json()["results"], "relevance_score") == right
    assert by_index(voyage.json()["data"], "relevance_score") == right
    assert by_index(sglang.json(), "score") == right


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (b'{"documents":[],"query":"q"}', "documents"),
        (b'{"documents":null,"query":"q"}', "documents"),
        (b'{"documents":["a"]}', "query"),
        (b'{"documents":["a"],"query":"q","model":"nope"}', "model"),
    ],
)
async def test_the_whole_error_body_is_short_since_milvus_shows_it_to_its_user(
    content: bytes, param: str, client: httpx.AsyncClient
):
    response = await ask(client, content)
    assert response.status_code in {400, 404}
    assert response.json().keys() == {"error", "detail"}
    assert response.json()["error"]["param"] == param
    assert len(response.content) < 300


FAULTS: dict[str, Fault] = {
    "a document dropped": altered(lambda right: right["data"].pop() and None),
    "one too many": altered(lambda right: right["data"].append({"index": 3, "score": 0.5})),
    "an empty object": altered(lambda _: {}),
    "an error with status 200": altered(lambda _: {"error": {"message": "no"}}),
    "a null score": altered(lambda right: right["data"][0].update(score=None)),
    "a NaN score": altered(lambda right: right["data"][0].update(score=math.nan)),
    "a text score": altered(lambda right: right["data"][0].update(score="0.5")),
    "not JSON": altered(lambda _: b"<html>"),
    "half an answer": half,
    "a reset": reset,
    "a 500": status(500),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_no_status_200_ever_covers_a_workers_bad_answer(fault: Fault):
    async with gateway(FakeVllm(always=fault), max_attempts=1, no_worker_wait_s=0.05, deadline_s=0.5) as client:
        response = await ask(client, FIRST)
    assert response.status_code in {502, 503, 504}
    assert response.json().keys() == {"error", "detail"}
    assert len(response.content) < 700


def groups_as_milvus_ranks_them(scores: Sequence[float], group_of: Sequence[str]) -> list[str]:
    """The groups of a grouped search, best first, as `newGroupingIDScores` of Milvus 2.6 ranks them by its scorer max.

    A group's maximum begins at 0. Of equal ones the larger group comes first, then that with the lower key.
    """
    best: dict[str, tuple[float, int, int]] = {}
    for key in sorted(range(len(scores)), key=lambda key: -_float32(scores[key])):
        top, size, first = best.get(group_of[key], (0.0, 0, key))
        best[group_of[key]] = max(top, _float32(scores[key])), size + 1, first
    return sorted(best, key=lambda group: (-best[group][0], -best[group][1], best[group][2]))


@pytest.mark.parametrize(
    ("normalize", "ranked"),
    [("none", ["two of them", "third", "fourth"]), ("sigmoid", ["fourth", "third", "two of them"])],
)
async def test_milvus_ranks_groups_rightly_whose_raw_scores_are_all_below_zero_once_they_are_normalized(
    normalize: str, ranked: list[str]
):
    raw = [-9.0, -8.0, -3.0, -1.0]

    def below_zero(answer: dict[str, Any]) -> None:
        for row, score in zip(answer["data"], raw, strict=True):
            row["score"] = score

    models = {"tiny-reranker": {"score_scale": "logit", "normalize": normalize}}
    async with gateway(FakeVllm(always=altered(below_zero)), models=models) as client:
        answer = (await ask(client, b'{"documents":["a","b","c","d"],"query":"q"}')).json()
    scores = [row["relevance_score"] for row in sorted(answer["results"], key=lambda row: row["index"])]
    assert groups_as_milvus_ranks_them(scores, ["two of them", "two of them", "third", "fourth"]) == ranked
    assert answer["meta"]["score_scale"] == ("logit" if normalize == "none" else "probability")
