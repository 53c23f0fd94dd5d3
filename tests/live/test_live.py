"""The gateway over real vLLM workers: it scores as one direct call does, whatever happens to the workers."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.main import create_app
from app.settings import Settings
from tests.live.worker import MODEL, OwnWorker
from tests.running import gateway, serving

MAX_MODEL_LEN = 512
# [CLS] query [SEP] document [SEP]
SPECIAL_TOKENS = 3
# Another batch shape adds the same numbers in another order: up to 1e-6 on this model's logits.
TOLERANCE = 1e-5

_VOCABULARY = json.loads((MODEL / "tokenizer.json").read_text())["model"]["vocab"]
# Words of one token each, so that a text's length in tokens is known.
WORDS = sorted(word for word in _VOCABULARY if word.isascii() and word.isalpha() and len(word) > 3)
QUERY = "parse command line arguments into options"
UNICODE = [
    "",
    " ",
    "\t\n",
    "巴黎是法国的首都",
    "كيفية تحليل سطر الأوامر",
    "naïve café, Ünïcödé; e\u0301 and é",
    "👩‍👩‍👧‍👦 🏳️‍🌈 parse 🚀 options",
    "a\u0000b\u200bc\ufeff",
    "<b>&amp; \\u003c</b> \"quoted\" 'command'",
    "x" * 3000,
]


def text(words: int, seed: int) -> str:
    return " ".join(Random(seed).choices(WORDS, k=words))


def documents(count: int) -> list[str]:
    """Texts of about 60 words that hold none to all of the query's words: their scores lie far apart."""
    chance = Random(count)
    found = []
    for seed in range(count):
        some = chance.sample(QUERY.split(), chance.randint(0, 6))
        found.append(f"{text(chance.randint(20, 50), seed)} {' '.join(some)} {text(chance.randint(5, 20), -seed)}")
    return found


async def direct(url: str, query: str | list[str], texts: list[str], **fields: Any) -> list[float]:
    """What a worker says itself, in one call."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        response = await client.post("/score", json={"text_1": query, "text_2": texts} | fields)
    assert response.status_code == 200, response.text
    return scores_of(response.json())


def scores_of(answer: dict[str, Any]) -> list[float]:
    """Scores by document, from an answer of either shape; every document must be there once."""
    rows = answer.get("data") or answer["results"]
    by_index = {row["index"]: row.get("score", row.get("relevance_score")) for row in rows}
    assert sorted(row["index"] for row in rows) == list(range(len(rows)))
    return [by_index[index] for index in range(len(rows))]


def same(scores: Sequence[float]) -> Any:
    return pytest.approx(scores, abs=TOLERANCE, rel=0)


def is_ranked(results: list[dict[str, Any]]) -> bool:
    return results == sorted(results, key=lambda row: (-row["relevance_score"], row["index"]))


async def rerank(client: httpx.AsyncClient, query: str, texts: list[str], path: str = "/rerank", **fields: Any) -> Any:
    response = await client.post(path, json={"query": query, "documents": texts} | fields)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert is_ranked(answer["results"])
    return answer


# --- the same ranking as one direct call ---


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("max_batch", [7, 64, 125, 1000])
async def test_a_thousand_documents_are_scored_as_by_one_direct_call(
    workers: tuple[str, str], max_batch: int, count: int
):
    texts = documents(1000)
    probabilities: dict[str, Any] = {}
    logits: dict[str, Any] = {"use_activation": False}
    async with gateway(workers=workers[:count], max_batch=max_batch, min_batch=1) as client:
        for fields in (probabilities, logits):
            answer = await rerank(client, QUERY, texts, **fields)
            right = await direct(workers[0], QUERY, texts, **fields)
            assert scores_of(answer) == same(right)
            assert len(set(right)) > 500


async def test_chunks_of_one_document_are_scored_as_by_one_direct_call(workers: tuple[str, str]):
    texts = documents(50)
    async with gateway(workers=workers, max_batch=1, min_batch=1) as client:
        answer = await rerank(client, QUERY, texts, use_activation=False)
    assert scores_of(answer) == same(await direct(workers[0], QUERY, texts, use_activation=False))


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_every_rerank_route_answers_as_the_workers_own_does(workers: tuple[str, str], path: str):
    body = {"model": "tiny-reranker", "query": QUERY, "documents": documents(200), "top_n": 20}
    async with gateway(workers=workers) as client:
        answer = (await client.post(path, json=body)).json()
    async with httpx.AsyncClient(base_url=workers[0], timeout=60) as worker:
        right = (await worker.post(path, json=body)).json()
    assert [row["index"] for row in answer["results"]] == [row["index"] for row in right["results"]]
    assert [row["relevance_score"] for row in answer["results"]] == same(
        [row["relevance_score"] for row in right["results"]]
    )
    assert answer["model"] == right["model"]
    assert answer["usage"]["total_tokens"] == right["usage"]["total_tokens"]


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
async def test_pairs_of_n_queries_and_n_texts_are_scored_as_by_one_direct_call(workers: tuple[str, str], path: str):
    texts = documents(300)
    queries = [text(1 + index % 9, 10_000 + index) + " options" * (index % 3) for index in range(300)]
    async with gateway(workers=workers, max_batch=32) as client:
        response = await client.post(path, json={"text_1": queries, "text_2": texts, "use_activation": False})
    assert scores_of(response.json()) == same(await direct(workers[0], queries, texts, use_activation=False))


async def test_one_query_and_n_texts_are_scored_as_by_one_direct_call(workers: tuple[str, str]):
    texts = documents(300)
    async with gateway(workers=workers, max_batch=32) as client:
        response = await client.post("/score", json={"queries": QUERY, "documents": texts, "use_activation": False})
    assert scores_of(response.json()) == same(await direct(workers[0], QUERY, texts, use_activation=False))


async def test_duplicates_get_the_score_of_their_one_call(workers: tuple[str, str]):
    distinct = documents(100)
    texts = [*distinct, *distinct, *distinct[:50]]
    Random(1).shuffle(texts)
    async with gateway(workers=workers, max_batch=16) as client:
        answer = await rerank(client, QUERY, texts, use_activation=False)
        alone = await rerank(client, QUERY, distinct, use_activation=False)
    assert scores_of(answer) == same(await direct(workers[0], QUERY, texts, use_activation=False))
    assert answer["usage"] == alone["usage"]


@pytest.mark.parametrize("query", [QUERY, "", "命令行 🚀 é"])
async def test_empty_and_foreign_texts_are_scored_as_by_one_direct_call(workers: tuple[str, str], query: str):
    texts = [*UNICODE, *documents(40)]
    async with gateway(workers=workers, max_batch=4, min_batch=1) as client:
        answer = await rerank(client, query, texts, path="/v1/rerank", use_activation=False)
    right = await direct(workers[0], query, texts, use_activation=False, truncate_prompt_tokens=-1)
    assert scores_of(answer) == same(right)
    assert all(row["document"] == {"text": texts[row["index"]]} for row in answer["results"])


# --- texts that are too long ---


async def test_documents_too_long_are_cut_as_the_worker_cuts_them(workers: tuple[str, str]):
    texts = [f"{text(words, words)} {QUERY}" for words in (1, 100, 498, 499, 500, 501, 502, 600, 2000, 20_000)]
    texts += [f"{QUERY} {once}" for once in texts]
    async with gateway(workers=workers, max_batch=3, min_batch=1) as client:
        answer = await rerank(client, QUERY, texts, use_activation=False)
    right = await direct(workers[0], QUERY, texts, use_activation=False, truncate_prompt_tokens=-1)
    assert scores_of(answer) == same(right)


@pytest.mark.parametrize(
    "fields",
    [
        {"truncate_prompt_tokens": 64},
        {"truncate_prompt_tokens": -1, "max_tokens_per_doc": 20},
        {"truncate_prompt_tokens": -1, "max_tokens_per_query": 2},
        {"truncate_prompt_tokens": 100, "truncation_side": "left"},
    ],
    ids=str,
)
async def test_a_clients_own_cut_is_the_workers_cut(workers: tuple[str, str], fields: dict[str, Any]):
    texts = [f"{text(words, words)} {QUERY}" for words in (5, 50, 700)]
    async with gateway(workers=workers, max_batch=2, min_batch=1) as client:
        answer = await rerank(client, QUERY, texts, use_activation=False, **fields)
    assert scores_of(answer) == same(await direct(workers[0], QUERY, texts, use_activation=False, **fields))


@pytest.mark.parametrize("length", [250, 251, 252, 254, 255, 256, 300, 400, 500, 506])
async def test_a_query_longer_than_half_the_model_stays_whole(workers: tuple[str, str], length: int):
    query = text(length, length)
    texts = [text(1000, 1), text(5, 2), "", f"{' '.join(query.split()[-20:])} {text(600, 3)}", text(20_000, 4)]
    room = MAX_MODEL_LEN - SPECIAL_TOKENS - length
    fitting = [" ".join(document.split()[:room]) for document in texts]
    async with gateway(workers=workers, max_batch=2, min_batch=1) as client:
        answer = await rerank(client, query, texts, use_activation=False)
    # Cut by hand to what fits, so that the worker has nothing to cut.
    assert scores_of(answer) == same(await direct(workers[0], query, fitting, use_activation=False))


async def test_the_workers_own_cut_would_shorten_a_long_query(workers: tuple[str, str]):
    """What the test above would not see if the workers changed their ways."""
    query, document = text(400, 400), text(1000, 1)
    fitting = " ".join(document.split()[: MAX_MODEL_LEN - SPECIAL_TOKENS - 400])
    whole = await direct(workers[0], query, [fitting], use_activation=False)
    cut = await direct(workers[0], query, [document], use_activation=False, truncate_prompt_tokens=-1)
    assert abs(whole[0] - cut[0]) > 0.1


async def test_a_long_query_may_be_cut_by_who_sent_it(workers: tuple[str, str]):
    query, texts = text(600, 600), [text(700, 1), text(5, 2)]
    fields: dict[str, Any] = {"max_tokens_per_query": 50, "use_activation": False}
    async with gateway(workers=workers) as client:
        answer = await rerank(client, query, texts, **fields)
    assert scores_of(answer) == same(await direct(workers[0], query, texts, truncate_prompt_tokens=-1, **fields))


@pytest.mark.parametrize("length", [510, 600, 20_000])
@pytest.mark.parametrize("long_documents", ["truncate", "error"])
async def test_a_query_too_long_by_itself_is_the_clients_mistake(
    workers: tuple[str, str], length: int, long_documents: str
):
    async with gateway(workers=workers, long_documents=long_documents) as client:
        response = await client.post("/rerank", json={"query": text(length, length), "documents": ["a", text(900, 1)]})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"] == "query"
    assert f"query has {length} tokens" in error["message"]


async def test_a_document_too_long_is_an_error_when_settings_say_so(workers: tuple[str, str]):
    async with gateway(workers=workers, long_documents="error", max_batch=8, min_batch=1) as client:
        refused = await client.post("/rerank", json={"query": QUERY, "documents": [*documents(20), text(600, 1)]})
        fits = await rerank(client, QUERY, documents(20))
    assert refused.status_code == 400, refused.text
    assert "maximum context length is 512 tokens" in refused.json()["error"]["message"]
    assert len(fits["results"]) == 20


# --- keys ---


async def test_a_wrong_worker_key_is_told_at_once_with_the_setting_to_mend(own_worker: OwnWorker):
    await own_worker.start()
    app = create_app(Settings(workers=(own_worker.url,), worker_api_key="wrong"))
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client, asyncio.timeout(3):
        response = await client.post("/rerank", json={"query": QUERY, "documents": ["a"]})
    assert response.status_code == 502, response.text
    assert "RERANK_WORKER_API_KEY" in response.json()["error"]["message"]
    assert own_worker.name in response.json()["error"]["message"]


async def test_a_worker_with_the_right_key_scores(workers: tuple[str, str], own_worker: OwnWorker):
    await own_worker.start()
    texts = documents(100)
    async with gateway(workers=(own_worker.url,), worker_api_key=own_worker.api_key) as client:
        # Long enough that its tokens are counted, by a route of the worker's that needs no key.
        for query in (QUERY, text(300, 300)):
            answer = await rerank(client, query, texts, use_activation=False)
            assert scores_of(answer) == same(await direct(workers[0], query, texts, use_activation=False))


async def test_a_worker_that_refuses_the_key_costs_no_request(workers: tuple[str, str], own_worker: OwnWorker):
    await own_worker.start()
    texts = documents(100)
    async with gateway(workers=(own_worker.url, workers[0]), worker_api_key="wrong") as client:
        answer = await rerank(client, QUERY, texts)
    assert scores_of(answer) == same(await direct(workers[0], QUERY, texts))


# --- workers that die and come back ---


async def attempts(client: httpx.AsyncClient, worker: str) -> dict[str, int]:
    """How many calls to a worker ended in which way."""
    counted: dict[str, int] = {}
    for family in text_string_to_metric_families((await client.get("/metrics")).text):
        for sample in family.samples:
            if sample.name == "rerank_attempts_total" and sample.labels["worker"] == worker:
                outcome = sample.labels["outcome"]
                counted[outcome] = counted.get(outcome, 0) + int(sample.value)
    return counted


async def under_load(
    client: httpx.AsyncClient, texts: list[str], during: Callable[[], Awaitable[None]]
) -> list[list[float]]:
    """The scores of all requests of four clients that keep asking while `during` runs, and once after it."""
    is_over = asyncio.Event()
    seen: list[list[float]] = []

    async def keep_asking() -> None:
        is_last = False
        while not is_last:
            is_last = is_over.is_set()
            seen.append(scores_of(await rerank(client, QUERY, texts)))

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(keep_asking())
        await during()
        is_over.set()
    return seen


async def until_used(client: httpx.AsyncClient, worker: str, *, calls: int, within_s: float = 30) -> None:
    """Return when a worker has answered `calls` more calls."""
    before = (await attempts(client, worker)).get("ok", 0)
    async with asyncio.timeout(within_s):
        while (await attempts(client, worker)).get("ok", 0) < before + calls:  # noqa: ASYNC110 - another process's event
            await asyncio.sleep(0.02)


@pytest.mark.timeout(600)
async def test_a_killed_worker_costs_no_request_and_is_used_again_when_it_is_back(
    workers: tuple[str, str], own_worker: OwnWorker
):
    await own_worker.start()
    texts = documents(200)
    right = await direct(workers[0], QUERY, texts)
    registry = (workers[0], own_worker.url)
    async with gateway(workers=registry, worker_api_key=own_worker.api_key, max_batch=16) as client:

        async def kill_in_the_middle() -> None:
            await until_used(client, own_worker.name, calls=10)
            own_worker.kill()

        seen = await under_load(client, texts, kill_in_the_middle)
        ended = await attempts(client, own_worker.name)
        assert all(scores == same(right) for scores in seen)
        assert (
            sum(ended.get(outcome, 0) for outcome in ("unreachable", "closed_before_response", "closed_mid_response"))
            > 0
        ), ended

        await own_worker.start()
        seen = await under_load(client, texts, lambda: until_used(client, own_worker.name, calls=10))
        assert all(scores == same(right) for scores in seen)


@pytest.mark.timeout(300)
async def test_a_worker_told_to_stop_costs_no_request(workers: tuple[str, str], own_worker: OwnWorker):
    await own_worker.start()
    texts = documents(200)
    right = await direct(workers[0], QUERY, texts)
    registry = (workers[0], own_worker.url)
    async with gateway(workers=registry, worker_api_key=own_worker.api_key, max_batch=16) as client:

        async def stop_in_the_middle() -> None:
            await until_used(client, own_worker.name, calls=10)
            await own_worker.stop()

        seen = await under_load(client, texts, stop_in_the_middle)
    assert all(scores == same(right) for scores in seen)
