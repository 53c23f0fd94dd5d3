"""The doctor before something other than a gateway: what may stand there, and what it may do."""

import asyncio
import json
import time

import pytest

from tests.fake_vllm import FakeVllm
from tests.listening import listening
from tests.running import gateway
from tests.tools.conftest import Examine
from tests.tools.front import Answer, Request, front
from tests.tools.reading import levels, told

_NO_ROUTE = Answer(404, b'{"detail":"Not Found"}')


def scores(count: int, name: str) -> list[dict[str, float]]:
    return [{"index": place, name: 0.5} for place in range(count)]


def vllm(request: Request, _: Answer) -> Answer:
    """What a bare vLLM 0.32 answers, as far as it matters here."""
    if request.path == "/version":
        return Answer(200, b'{"version":"0.32.0"}')
    if request.path == "/v1/models":
        return Answer(200, b'{"data":[{"id":"m","root":"/m","max_model_len":512}]}')
    if request.path.partition("?")[0] in {"/rerank", "/v2/rerank"}:
        body = json.loads(request.body)
        if body.get("model", "m") != "m":
            return Answer(404, b'{"error":{"message":"The model `no-such-model` does not exist."}}')
        if not body.get("documents"):
            return Answer(400, b'{"error":{"message":"documents are missing"}}')
        results = scores(len(body["documents"]), "relevance_score")
        answer = {"id": "score-1", "model": "m", "usage": {"total_tokens": 7}, "results": results}
        return Answer(200, json.dumps(answer).encode())
    return Answer(307, b"", more="Location: /rerank\r\n") if request.path == "/rerank/" else _NO_ROUTE


def tei(request: Request, _: Answer) -> Answer:
    """What TEI answers: no more than 32 texts."""
    if request.path == "/info":
        return Answer(200, b'{"model_id":"m","max_client_batch_size":32,"version":"1.8.0"}')
    if request.path.partition("?")[0] != "/rerank":
        return _NO_ROUTE
    texts = json.loads(request.body).get("texts")
    if texts and len(texts) <= 32 and "query" in json.loads(request.body):
        return Answer(200, json.dumps(scores(len(texts), "score")).encode())
    return Answer(422, b'{"error":"batch size > maximum allowed batch size 32","error_type":"Validation"}')


async def test_a_bare_vllm_is_recognized_with_what_it_costs(examine: Examine):
    async with front(None, vllm, idle_s=0.1) as (url, _):
        found = await examine(url, "http://127.0.0.1:9", key="sekret", idle_s=3)
    assert levels(found)["address"] == "green"
    assert "VLLM_HTTP_TIMEOUT_KEEP_ALIVE=120" in told(found, "keep-alive", "yellow")
    assert 'provider "vllm"' in told(found, "milvus-tei", "yellow")
    assert "without a slash" in told(found, "trailing-slash", "yellow")
    assert "--api-key guards paths below /v1" in told(found, "wrong-key", "yellow")
    assert [one.id for one in found if one.level == "red"] == ["worker-answers"]


async def test_a_proxy_of_the_environment_has_no_part_in_it(examine: Examine, monkeypatch: pytest.MonkeyPatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with front(None, vllm) as (url, _):
        assert levels(await examine(url))["address"] == "green"


async def test_a_bare_vllm_is_its_own_worker(examine: Examine):
    async with front(None, vllm) as (url, _):
        found = await examine(url)
    assert "vLLM itself is the worker" in [one.seen for one in found if one.id == "workers-found"]
    assert levels(found)["worker-answers"] == "green"


async def test_tei_is_recognized_and_examined_as_its_provider_calls_it(examine: Examine):
    async with front(None, tei) as (url, _):
        found = await examine(url)
    assert 'name the provider "tei"' in told(found, "address", "yellow")
    assert "--max-client-batch-size" in told(found, "documents", "yellow")
    assert levels(found)["milvus-tei"] == "green"
    assert levels(found)["results"] == "green"
    assert found.worst == "yellow"


async def test_a_server_that_is_none_of_these_is_red_at_its_first_answer(examine: Examine):
    async with front(None, lambda *_: _NO_ROUTE) as (url, _):
        found = await examine(url)
    assert "an unknown server" in told(found, "address", "yellow")
    assert "correct the port" in told(found, "milvus-2.6", "red")


async def test_a_redirect_of_the_call_alone_is_red(examine: Examine):
    def alter(request: Request, right: Answer) -> Answer:
        return Answer(302, b"", more="Location: /login\r\n") if request.path == "/rerank" else vllm(request, right)

    async with front(None, alter) as (url, _):
        assert "becomes a GET" in told(await examine(url), "milvus-2.6", "red")


async def test_a_server_that_never_answers_is_given_up_in_time(examine: Examine):
    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            writer.close()

    started = time.monotonic()
    async with listening(silent) as port:
        found = await examine(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}")
    assert time.monotonic() - started < 15
    assert "gave no answer in 4 s" in told(found, "address", "red")
    assert "restart vLLM" in told(found, "worker-answers", "red")


async def test_what_there_was_no_time_for_is_yellow_and_says_so(examine: Examine):
    async with front(None, vllm, pause_s=0.3) as (url, _):
        started = time.monotonic()
        found = await examine(url, url, limit_s=2.0)
    assert time.monotonic() - started < 4
    late = {one.id for one in found if "the time was over" in one.seen}
    assert {"time", "documents", "body"} <= late
    assert all(one.level == "yellow" and one.fix for one in found if one.id in late)
    assert levels(found)["milvus-2.6"] == "green"


async def test_what_is_no_http_is_told_apart(examine: Examine):
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        # Not drained first: the doctor may have gone by then, and the connection would be left open.
        writer.close()

    async with listening(greet) as port:
        assert "without a whole HTTP answer" in told(await examine(f"http://127.0.0.1:{port}"), "address", "red")


async def test_http_where_https_is_asked_for_is_told_apart(examine: Examine, healthy: FakeVllm):
    async with gateway(healthy) as client:
        seen = told(await examine(f"https://127.0.0.1:{client.base_url.port}"), "certificate", "red")
    assert "doesn't speak TLS" in seen
    assert "write http://" in seen


async def test_a_server_that_resets_where_https_is_asked_for_is_told_apart(examine: Examine):
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    async with listening(reset) as port:
        seen = told(await examine(f"https://127.0.0.1:{port}", f"https://127.0.0.1:{port}"), "certificate", "red")
    assert "doesn't speak TLS" in seen
    assert "write http://" in seen
