"""The cache as clients see it, over real sockets: headers, the metrics, and how to go without."""

import asyncio
import re
from collections import deque

import httpx
import pytest

from tests.fake_vllm import FakeVllm, score_of, status
from tests.running import gateway, rerank

TIMING = re.compile(r"cache;dur=\d+\.\d\d, workers;dur=\d+\.\d\d, total;dur=\d+\.\d\d")
SOURCE = re.compile(r'^rerank_documents_total\{source="(\w+)"\} (\S+)$', re.MULTILINE)


def _hits(response: httpx.Response) -> int:
    assert response.status_code == httpx.codes.OK, response.text
    return int(response.headers["X-Rerank-Cache-Hits"])


def _dur(response: httpx.Response, part: str) -> float:
    timing = response.headers["Server-Timing"]
    assert TIMING.fullmatch(timing)
    return float(dict(entry.split(";dur=") for entry in timing.split(", "))[part])


async def _sources(client: httpx.AsyncClient) -> dict[str, float]:
    told = (await client.get("/metrics")).text
    return {source: float(count) for source, count in SOURCE.findall(told) if float(count)}


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_an_answer_says_how_many_scores_were_cached_and_where_its_time_went(path: str):
    worker = FakeVllm(delay_s=0.02)
    async with gateway(worker, cache=True) as client:
        fresh = await rerank(client, ["a", "b"], path)
        assert _hits(fresh) == 0
        assert _dur(fresh, "total") > _dur(fresh, "workers") > 15
        some = await rerank(client, ["a", "b", "c"], path)
        assert _hits(some) == 2
        known = await rerank(client, ["c", "a"], path)
        assert _hits(known) == 2
        assert _dur(known, "workers") == 0
    assert [call.documents for call in worker.scored] == [["a", "b"], ["c"]]


@pytest.mark.parametrize("path", ["/v1/score", "/score"])
async def test_score_routes_know_what_rerank_routes_had_scored(path: str):
    worker = FakeVllm()
    async with gateway(worker, cache=True) as client:
        await rerank(client, ["a", "b"])
        body = {"text_1": "q", "text_2": ["b", "a"]}
        answer = await client.post(path, json=body)
        assert _hits(answer) == 2
        assert [row["score"] for row in answer.json()["data"]] == [score_of("q", "b"), score_of("q", "a")]


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?cache={}", {}),
        ("", {"X-Rerank-Cache": "{}"}),
        ("?cache=default", {"X-Rerank-Cache": "{}"}),
        ("?cache=nonsense", {"X-Rerank-Cache": "{}"}),
    ],
    ids=["in the query string", "as a header", "the header goes first", "whatever the other says"],
)
@pytest.mark.parametrize("spelled", [str.lower, str.title])
async def test_a_client_can_go_without_reading_or_without_the_cache_at_all(
    query: str, headers: dict[str, str], spelled
):
    async def ask(documents: list[str], use: str) -> int:
        use = spelled(use)
        sent = {name: value.format(use) for name, value in headers.items()}
        body = {"query": "q", "documents": documents}
        return _hits(await client.post(f"/rerank{query.format(use)}", json=body, headers=sent))

    worker = FakeVllm()
    async with gateway(worker, cache=True) as client:
        await rerank(client, ["a"])
        assert await ask(["a", "b"], "no-store") == 0
        assert _hits(await rerank(client, ["a", "b"])) == 1
        assert await ask(["a", "c"], "no-cache") == 0
        assert await ask(["a", "b", "c"], "default") == 3
    assert [call.documents for call in worker.scored] == [["a"], ["a", "b"], ["b"], ["a", "c"]]


@pytest.mark.parametrize(
    ("query", "headers"), [("?cache=never", {}), ("", {"X-Rerank-Cache": "no cache"}), ("?cache=%00", {})]
)
async def test_a_word_that_is_none_of_them_is_a_400_that_names_what_is_allowed(query: str, headers: dict[str, str]):
    worker = FakeVllm()
    async with gateway(worker, cache=True) as client:
        answer = await client.post(f"/rerank{query}", json={"query": "q", "documents": ["a"]}, headers=headers)
    assert answer.status_code == httpx.codes.BAD_REQUEST
    told = answer.json()["error"]
    assert told["param"] == "cache"
    assert "X-Rerank-Cache" in told["message"]
    assert "default, no-cache or no-store" in told["message"]
    assert not worker.scored


async def test_an_error_tells_nothing_of_hits_or_times():
    worker = FakeVllm()
    async with gateway(worker, cache=True, max_attempts=1) as client:
        await rerank(client, ["a"])
        worker.always = status(400)
        for answer in (await rerank(client, ["a", "b"]), await rerank(client, []), await client.get("/rerank")):
            assert answer.is_error
            assert {"x-rerank-cache-hits", "server-timing"}.isdisjoint(answer.headers)


async def test_documents_are_counted_by_where_their_scores_came_from():
    worker = FakeVllm()
    async with gateway(worker, cache=True) as client:
        await rerank(client, ["a", "b", "b"])
        assert await _sources(client) == {"worker": 2, "duplicate": 1}
        await rerank(client, ["a", "b", "c", "a"])
        assert await _sources(client) == {"worker": 3, "duplicate": 2, "memory": 2}
        worker.delay_s = 0.5
        first = asyncio.create_task(rerank(client, ["d", "e"]))
        async with asyncio.timeout(5):
            while not worker.in_flight:  # noqa: ASYNC110 - the worker of the tests sets no events
                await asyncio.sleep(0.005)
        await rerank(client, ["e", "f"])
        await first
        assert await _sources(client) == {"worker": 6, "duplicate": 2, "memory": 2, "coalesced": 1}


async def test_a_refused_document_is_counted_as_such_only():
    async with gateway(FakeVllm(faults=deque([status(400)] * 2)), cache=True, document_errors="lowest") as client:
        await rerank(client, ["a", "b"])
        assert await _sources(client) == {"worker": 1, "refused": 1}


async def test_with_the_cache_off_everything_is_scored_again():
    worker = FakeVllm(delay_s=0.05)
    async with gateway(worker, cache=False) as client:
        answers = await asyncio.gather(rerank(client, ["a"]), rerank(client, ["a"]))
        again = await client.post("/rerank?cache=default", json={"query": "q", "documents": ["a"]})
        assert [_hits(answer) for answer in (*answers, again)] == [0, 0, 0]
        assert await _sources(client) == {"worker": 3}
        assert "rerank_cache_pairs 0.0" in (await client.get("/metrics")).text
    assert len(worker.scored) == 3


@pytest.mark.parametrize("dialect", ["vllm", "tei", "sglang", "voyage", "cohere1", "cohere2", "score"])
async def test_a_cached_answer_equals_the_fresh_one_apart_from_id_and_usage(dialect: str):
    documents = ["b", "a", "é\n", "a"]
    path = "/v1/score" if dialect == "score" else f"/rerank?dialect={dialect}"
    texts = {"score": ("text_1", "text_2"), "tei": ("query", "texts")}.get(dialect, ("query", "documents"))
    body = dict(zip(texts, ("q", documents), strict=True)) | {"return_documents": True}
    async with gateway(FakeVllm(), cache=True) as client:
        fresh, cached = [await client.post(path, json=body) for _ in range(2)]
    assert (_hits(fresh), _hits(cached)) == (0, 3)
    assert _without_traces(fresh) == _without_traces(cached)
    assert b'"index":' in _without_traces(cached)


def _without_traces(response: httpx.Response) -> bytes:
    """The bytes of an answer without what is its own in every one: id, date, and what workers spent on it."""
    return re.sub(rb'"(id|created|usage)":("[^"]*"|\d+|\{[^{}]*\})', rb'"\1":_', response.content)
