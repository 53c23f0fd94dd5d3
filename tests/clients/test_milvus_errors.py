"""What the user of a search in Milvus reads when it fails, and that it never gets wrong scores instead."""

import asyncio
import json
import math
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any

import pytest

from app.settings import Settings
from tests.clients.go_json import float32
from tests.clients.milvus import Hit, Milvus, MilvusError
from tests.clients.test_milvus import over
from tests.fake_vllm import FakeVllm, Fault, altered, hang, score_of, status
from tests.running import gateway
from tests.waiting import until

QUERY = "SECRET question"
HITS: list[Hit] = [(number, f"SECRET document {number}") for number in range(40)]
RIGHT = {key: float32(score_of(QUERY, str(text))) for key, text in HITS}
# Milvus: 30 s for three tries and the pauses of up to 1.25 and 2.5 s between them.
PATIENCE_S, TRIES, PAUSES_S = 30, 3, 3.75

ANSWERS: dict[str, Fault] = {
    "a result missing": altered(lambda right: right["data"].pop() and None),
    "a result too many": altered(lambda right: right["data"].append({"index": 40, "score": 0.5})),
    "an index twice": altered(lambda right: right["data"][0].update(index=1)),
    "an empty object": altered(lambda _: {}),
    "an error told as 200": altered(lambda _: {"error": {"message": "no"}}),
    "a null score": altered(lambda right: right["data"][3].update(score=None)),
    "a NaN score": altered(lambda right: right["data"][3].update(score=math.nan)),
    "a score as text": altered(lambda right: right["data"][3].update(score="0.5")),
    "a score above float32": altered(lambda right: right["data"][3].update(score=1e39)),
    "a score above float64": altered(lambda right: json.dumps(right).replace('"score": 0.', '"score": 1e400').encode()),
    "a score of 400 digits": altered(lambda right: right["data"][3].update(score=10**400)),
    "not JSON": altered(lambda _: b"<html>SECRET</html>"),
    "nothing": altered(lambda _: b""),
}  # fmt: skip


async def test_a_bad_answer_of_the_only_worker_is_an_error_not_a_score():
    worker = FakeVllm()
    told = r"^service unavailable: call service failed, errs:\[502 Bad Gateway, "
    async with gateway(worker, max_attempts=1) as client, over(client) as proxy:
        for name, worker.always in ANSWERS.items():
            with pytest.raises(MilvusError, match=told):
                pytest.fail(f"{name}: {await proxy.search([QUERY], [HITS])}")
            _check_told(proxy)


async def test_a_bad_answer_of_one_worker_costs_no_search():
    for name, always in ANSWERS.items():
        broken, params = FakeVllm(always=always), {"max_client_batch_size": "4"}
        async with gateway(broken, FakeVllm()) as client, over(client, params=params) as proxy:
            assert await proxy.search([QUERY], [HITS]) == [RIGHT], name
            assert broken.scored, name
            assert {exchange.code for exchange in proxy.http.exchanges} == {200}


async def test_usage_is_a_whole_number_whatever_the_worker_says():
    worker = FakeVllm()
    async with gateway(worker) as client, over(client) as proxy:
        for tokens in (7.5, "7", None, -1, 10**30, True):
            worker.always = altered(partial(_with_tokens, tokens))
            assert await proxy.search([QUERY], [HITS]) == [RIGHT], tokens


def _with_tokens(tokens: object, right: dict[str, Any]) -> None:
    right["usage"]["total_tokens"] = tokens


LONG = "the prompt is too long; " * 100
KEYS = {"api_keys": {"milvus": "key"}}


@dataclass(frozen=True, kw_only=True)
class Failing:
    """A search that fails, and what its user must read: the status, and a word of the message."""

    status: str
    word: str
    path: str = ""
    always: Fault | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    api_key: str = ""


def _bad_request(word: str, **more: Any) -> Failing:
    return Failing(status="400 Bad Request", word=word, **more)


def _unavailable(word: str, *, always: Fault) -> Failing:
    return Failing(status="503 Service Unavailable", word=word, always=always)


FAILING = {
    "no key": Failing(status="401 Unauthorized", word="Bearer", settings=KEYS),
    "wrong key": Failing(status="401 Unauthorized", word="Bearer", settings=KEYS, api_key="SECRET"),
    "unknown model": Failing(status="404 Not Found", word="tiny-reranker", path="?model=nope"),
    "long unknown model": Failing(status="404 Not Found", word="tiny-reranker", path="?model=" + "n" * 2000),
    "top_n": _bad_request("top_n", path="?top_n=3"),
    "unknown dialect": _bad_request("dialect", path="?dialect=nope"),
    "cut to nothing": _bad_request("truncate_prompt_tokens", params={"truncate_prompt_tokens": "0"}),
    "cut to less than nothing": _bad_request("truncate_prompt_tokens", params={"truncate_prompt_tokens": "-2"}),
    "cut to more than the model takes": _bad_request("512", params={"truncate_prompt_tokens": "513"}),
    "too many documents": _bad_request("documents", settings={"max_documents": 10}),
    "document too long": _bad_request("documents[0]", settings={"max_document_chars": 16}),
    "body too large": Failing(
        # Called Request Entity Too Large before Python 3.13.
        status=f"413 {HTTPStatus(413).phrase}",
        word="500 bytes",
        settings={"max_body_bytes": 500},
    ),
    "refused by the worker": _bad_request("too long", always=status(400, LONG)),
    "worker out of order": _unavailable("500", always=status(500, LONG)),
    "worker out of order in Chinese": _unavailable("500", always=status(500, "内存不足" * 200)),
    "worker busy": _unavailable("503", always=status(503, LONG)),
    "worker wants a key": Failing(status="502 Bad Gateway", word="RERANK_WORKER_API_KEY", always=status(401)),
    "worker hangs": Failing(
        status="504 Gateway Timeout", word="127.0.0.1", always=hang, settings={"deadline_s": 0.1, "no_worker_wait_s": 0}
    ),
}


@pytest.mark.parametrize("failing", FAILING.values(), ids=FAILING.keys())
async def test_an_error_is_short_names_the_fault_and_quotes_no_text(failing: Failing):
    worker = FakeVllm(always=failing.always)
    async with (
        gateway(worker, max_attempts=1, **failing.settings) as client,
        over(client, failing.path, params=failing.params, api_key=failing.api_key) as proxy,
    ):
        with pytest.raises(MilvusError) as caught:
            await proxy.search([QUERY], [HITS])
    body = proxy.http.exchanges[-1].body.decode()
    assert failing.word in body
    prefix = "service unavailable: " if failing.status.startswith("5") else ""
    assert str(caught.value) == f"{prefix}call service failed, errs:[{failing.status}, {body}]"
    assert len(proxy.http.exchanges) == TRIES
    _check_told(proxy)


async def test_a_model_must_be_named_where_there_are_several():
    async with gateway(FakeVllm(), FakeVllm(model="other")) as client, over(client) as proxy:
        with pytest.raises(MilvusError, match=r"400 Bad Request, .*other, tiny-reranker.*\?model="):
            await proxy.search([QUERY], [HITS])
    _check_told(proxy)


async def test_tei_reads_an_error_of_its_own_shape():
    async with gateway(FakeVllm(), max_documents=10) as client, over(client, provider="tei") as proxy:
        with pytest.raises(MilvusError, match="400 Bad Request"):
            await proxy.search([QUERY], [HITS])
    body = proxy.http.exchanges[-1].body
    assert json.loads(body).keys() == {"error", "error_type"}
    assert len(body) < 500


async def test_with_no_slot_free_it_is_429():
    worker = FakeVllm(always=hang)
    async with (
        gateway(worker, worker_max_calls=1) as client,
        over(client) as first,
        over(client, "?timeout_ms=100") as proxy,
    ):
        holding = asyncio.create_task(first.search([QUERY], [HITS]))
        await until(lambda: worker.in_flight == 1)
        with pytest.raises(MilvusError, match=r"^service unavailable: call service failed, errs:\[429 Too Many"):
            await proxy.search([QUERY], [HITS])
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
    _check_told(proxy)


async def test_with_all_workers_gone_it_is_503_that_names_one():
    worker = FakeVllm()
    async with AsyncExitStack() as stack:
        async with worker.running():
            client = await stack.enter_async_context(gateway(worker, no_worker_wait_s=0.05))
        async with over(client) as proxy:
            told = r"^service unavailable: call service failed, errs:\[503 Service Unavailable, .*127\.0\.0\.1"
            with pytest.raises(MilvusError, match=told):
                await proxy.search([QUERY], [HITS])
    assert all(exchange.headers["retry-after"] for exchange in proxy.http.exchanges)
    _check_told(proxy)


async def test_what_fails_twice_is_right_the_third_time():
    worker = FakeVllm()
    worker.faults.extend([status(503), status(500)])
    async with gateway(worker, max_attempts=1) as client, over(client) as proxy:
        assert await proxy.search([QUERY], [HITS]) == [RIGHT]
    assert [exchange.code for exchange in proxy.http.exchanges] == [503, 503, 200, 200]
    assert proxy.http.opened == 1


async def test_one_batch_that_fails_for_good_fails_the_search():
    worker = FakeVllm(always=status(400, "no"))
    async with gateway(worker) as client, over(client) as proxy:
        with pytest.raises(MilvusError, match="400 Bad Request"):
            await proxy.search([QUERY], [HITS])
    assert len(proxy.http.exchanges) == TRIES


async def test_a_batch_milvus_gave_up_on_is_taken_off_the_worker():
    worker = FakeVllm(delay_s=30)
    async with gateway(worker) as client, over(client, timeout_s=0.1) as proxy:
        with pytest.raises(MilvusError, match=r"^context deadline exceeded$"):
            await proxy.search([QUERY], [HITS])
        await until(lambda: worker.abandoned == 1)
        assert worker.in_flight == 0


def test_by_default_the_gateway_answers_before_milvus_gives_up():
    settings = Settings()
    assert settings.deadline_s < PATIENCE_S
    # An error is read only if it comes three times within Milvus's patience.
    assert TRIES * settings.no_worker_wait_s + PAUSES_S < PATIENCE_S


def _check_told(proxy: Milvus) -> None:
    """The last answer is fit for a user and a log: short, of one shape, and without anybody's text."""
    body = proxy.http.exchanges[-1].body
    assert b"SECRET" not in body
    told = json.loads(body)
    assert told.keys() == {"error", "detail"}
    assert len(told["detail"]) < 300, body
    assert told["error"].keys() == {"message", "type", "param", "code"}
