"""`rerank-gateway serve` as a process: how it starts, stops, keeps connections and logs."""

import asyncio
import itertools
import json
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.fake_vllm import FakeVllm, status
from tests.integration.commands import Running, running
from tests.running import rerank, until_ready
from tests.waiting import until

BODY: dict[str, Any] = {"query": "capital", "documents": ["Paris", "Rome", "Oslo"]}


@asynccontextmanager
async def serving(**settings: str) -> AsyncIterator[tuple[Running, FakeVllm, httpx.AsyncClient]]:
    """A serving gateway, its one worker, and a client that opens a connection for every request."""
    limits = httpx.Limits(max_keepalive_connections=0)
    # Every request is to reach the worker, however often it comes.
    chosen = {"CACHE": "off"} | settings
    async with FakeVllm().running() as worker, running("serve", worker, **chosen) as gateway:
        await gateway.until_usable()
        async with httpx.AsyncClient(base_url=gateway.url, timeout=20, limits=limits) as client:
            yield gateway, worker, client


async def in_flight(client: httpx.AsyncClient, worker: FakeVllm, seconds: float) -> asyncio.Task[httpx.Response]:
    """A request that the worker is working on for `seconds`; later ones are quick."""
    worker.delay_s = seconds
    asked = asyncio.create_task(rerank(client, BODY["documents"]))
    await until(lambda: worker.in_flight > 0)
    worker.delay_s = 0
    return asked


async def until_refused(client: httpx.AsyncClient, within_s: float) -> None:
    """Wait until no new connection is accepted any more."""
    async with asyncio.timeout(within_s):
        for pause_s in itertools.repeat(0.01):
            try:
                await client.get("/livez")
            except httpx.ConnectError:
                return
            except httpx.TransportError:
                # It was accepted in the moment the gateway stopped listening.
                continue
            await asyncio.sleep(pause_s)


async def test_after_sigterm_it_serves_on_for_the_drain_time_and_finishes_what_is_in_flight():
    async with serving(DRAIN_S="1") as (gateway, worker, client):
        assert (await client.get("/readyz")).status_code == 200
        slow = await in_flight(client, worker, 2)
        gateway.tell(signal.SIGTERM)
        await gateway.until('"draining"')
        told_at = time.monotonic()

        readiness = await client.get("/readyz")
        assert readiness.status_code == 503
        assert readiness.headers["Connection"] == "close"
        assert (await client.get("/livez")).status_code == 200
        late = await rerank(client, BODY["documents"])
        assert (late.status_code, late.headers["Connection"]) == (200, "close")
        assert len(late.json()["results"]) == 3

        await until_refused(client, within_s=5)
        assert time.monotonic() - told_at > 0.9
        assert not slow.done()
        assert (await slow).status_code == 200
        assert await gateway.ended() == 0
        assert gateway.events[-1]["event"] == "stopped"


async def test_with_no_drain_time_nobody_is_let_in_any_more_and_what_is_in_flight_is_finished():
    async with serving(DRAIN_S="0") as (gateway, worker, client):
        slow = await in_flight(client, worker, 2)
        gateway.tell(signal.SIGTERM)
        await until_refused(client, within_s=2)
        assert not slow.done()
        answer = await slow
        assert (answer.status_code, len(answer.json()["results"])) == (200, 3)
        assert await gateway.ended() == 0


async def test_sigint_skips_the_drain_time_but_not_what_is_in_flight():
    async with serving(DRAIN_S="60") as (gateway, worker, client):
        slow = await in_flight(client, worker, 2)
        gateway.tell(signal.SIGINT)
        await until_refused(client, within_s=2)
        assert not slow.done()
        assert (await slow).status_code == 200
        assert await gateway.ended() == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(second: signal.Signals):
    async with serving(DRAIN_S="60") as (gateway, worker, client):
        slow = await in_flight(client, worker, 30)
        gateway.tell(signal.SIGTERM)
        await gateway.until('"draining"')
        gateway.tell(second)
        assert await gateway.ended(within_s=3) == 0
        (outcome,) = await asyncio.gather(slow, return_exceptions=True)
        assert isinstance(outcome, httpx.TransportError) or getattr(outcome, "status_code", None) == 500


async def test_a_second_signal_without_requests_leaves_no_traceback():
    async with serving(DRAIN_S="60") as (gateway, _, _client):
        gateway.tell(signal.SIGTERM)
        await gateway.until('"draining"')
        gateway.tell(signal.SIGTERM)
        assert await gateway.ended(within_s=3) == 0
    assert "Traceback" not in gateway.text


async def test_idle_client_connections_do_not_hold_it_up():
    async with serving(DRAIN_S="0") as (gateway, _, _client), httpx.AsyncClient(base_url=gateway.url) as keeping:
        assert (await keeping.get("/livez")).status_code == 200
        gateway.tell(signal.SIGTERM)
        assert await gateway.ended(within_s=3) == 0


async def test_a_taken_port_ends_it_with_1_and_says_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with running("serve", PORT=str(port)) as gateway:
            assert await gateway.ended() == 1
    assert "address already in use" in gateway.text
    told = gateway.events[-1]
    assert (told["event"], told["level"], told["port"]) == ("not_serving", "error", port)
    assert "RERANK_PORT" in told["advice"]
    assert not any(event["event"] == "serving" for event in gateway.events)


async def test_an_idle_connection_is_kept_for_the_time_set_and_no_longer():
    async with serving(KEEP_ALIVE_S="1") as (gateway, _, _client):
        host, port = gateway.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for pause_s in (0, 0.6, 0.6):
            await asyncio.sleep(pause_s)
            writer.write(b"GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert b"connection: close" not in head.lower()
            await reader.readexactly(len(b'{"status":"ok"}'))
        async with asyncio.timeout(3):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_each_request_is_one_line_of_json_that_says_what_it_cost():
    async with serving(API_KEYS="milvus:hush") as (gateway, _, client):
        client.headers["Authorization"] = "Bearer hush"
        response = await client.post("/v1/rerank?x=1", json=BODY, headers={"X-Request-Id": "abc-1"})
        assert response.status_code == 200
        long = BODY | {"documents": ["Paris has so many words. " * 1000], "long_documents": "passages"}
        assert (await client.post("/v1/rerank", json=long)).status_code == 200
        gateway.tell(signal.SIGINT)
        assert await gateway.ended() == 0
        lines = [event for event in gateway.events if event["event"] == "request"]
    assert len(lines) == 2
    expected = {
        "event": "request",
        "level": "info",
        "request_id": "abc-1",
        "route": "/v1/rerank",
        "dialect": "vllm",
        "key": "milvus",
        "model": "tiny-reranker",
        "documents": 3,
        "cache_hits": 0,
        "coalesced": 0,
        "chunks": 1,
        "attempts": 1,
        "status": 200,
    }
    assert expected.items() <= lines[0].items()
    assert 0 < lines[0]["ms"] < 10_000
    assert lines[0].keys() == expected.keys() | {"ms", "timestamp"}
    by_passage = {"documents": 1, "passages": 10}
    assert by_passage.items() <= lines[1].items()
    assert lines[1].keys() == lines[0].keys() | {"passages", "passages_dropped"}


async def test_at_level_warning_only_slow_and_failed_requests_leave_a_line():
    settings = {"SLOW_REQUEST_S": "0.5", "LOG_LEVEL": "warning", "CACHE": "off", "MAX_ATTEMPTS": "1"}
    # Nothing in the log says when it serves.
    patient = httpx.AsyncHTTPTransport(retries=8)
    async with FakeVllm().running() as worker, running("serve", worker, **settings) as gateway:
        async with httpx.AsyncClient(base_url=gateway.url, timeout=20, transport=patient) as client:
            await until_ready(client)
            assert (await rerank(client, BODY["documents"])).status_code == 200
            worker.delay_s = 0.6
            assert (await rerank(client, BODY["documents"])).status_code == 200
            worker.delay_s, worker.always = 0, status(500)
            assert (await rerank(client, BODY["documents"])).status_code == 503
        await gateway.until('"status":503')
        events = [(event["event"], event["level"], event.get("status")) for event in gateway.events]
    requests = [event for event in events if event[-1]]
    assert requests == [("slow_request", "warning", 200), ("request", "warning", 503)]
    assert {level for _, level, _ in events} == {"warning"}


REFUSED: dict[str, dict[str, Any]] = {
    "wrong key": {"headers": {"Authorization": "Bearer hush-not"}, "json": BODY},
    "not JSON": {"content": b'{"query": "capital", "documents": ["Paris", "Rome"'},
    "not UTF-8": {"content": b'{"query": "capital", "documents": ["Paris \xff"]}'},
    "wrong item": {"json": BODY | {"documents": ["Paris", {"capital": "Rome"}, 3]}},
    "wrong query": {"json": BODY | {"query": ["capital"]}},
    "wrong type": {"json": BODY | {"truncate_prompt_tokens": "Paris"}},
    "too long": {"json": BODY | {"documents": ["Paris " * 200]}},
    "unknown model": {"json": BODY | {"model": "other"}},
}


async def test_no_line_shows_a_query_a_document_or_a_key():
    async with serving(API_KEYS="milvus:hush", MAX_DOCUMENT_CHARS="1000", LOG_LEVEL="debug") as (
        gateway,
        worker,
        client,
    ):
        client.headers["Authorization"] = "Bearer hush"
        for number, (name, request) in enumerate(REFUSED.items()):
            answer = await client.post("/v1/rerank", **request)
            assert 400 <= answer.status_code < 500, (name, answer.text)
            assert "paris" not in answer.text.lower(), name
            await gateway.until(answer.headers["X-Request-Id"])
            assert len([event for event in gateway.events if event["event"] == "request"]) == number + 1
        worker.faults.extend([status(503), status(400, "too long")])
        assert (await client.post("/v1/rerank", json=BODY)).status_code == 400
        gateway.tell(signal.SIGINT)
        assert await gateway.ended() == 0
    assert all(json.loads(line) for line in gateway.lines)
    for word in ("capital", "paris", "rome", "oslo", "hush"):
        assert word not in gateway.text.lower()
