"""What one client may hold on to, by what it doesn't read, doesn't send or doesn't close, while others are served."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx

from tests.fake_vllm import FakeVllm, score_of
from tests.integration.commands import Running, running
from tests.security.raw import POST, connected

MIB = 2**20
ONE = {"Authorization": "Bearer first"}
OTHER = {"Authorization": "Bearer second"}
AS_ONE = b"Authorization: Bearer first\r\n"
# Its answer has 7 MB, which no buffers of the system take in.
LONG: dict[str, Any] = {"query": "q", "documents": [letter * 900_000 for letter in "abcdefgh"]}
SHORT: dict[str, Any] = {"query": "q", "documents": ["a", "b"]}


@asynccontextmanager
async def serving(worker: FakeVllm, **settings: Any) -> AsyncIterator[tuple[Running, httpx.AsyncClient]]:
    """A gateway, and a client that opens a connection for each request."""
    chosen = {"API_KEYS": "one:first,other:second"} | settings
    limits = httpx.Limits(max_keepalive_connections=0)
    async with worker.running(), running("serve", worker, **chosen) as gateway:
        await gateway.until_usable()
        async with httpx.AsyncClient(base_url=gateway.url, timeout=20, limits=limits) as client:
            yield gateway, client


async def metric(client: httpx.AsyncClient, name: str) -> float:
    lines = (await client.get("/metrics")).text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"rerank_{name} "))


async def until_it_is(client: httpx.AsyncClient, name: str, least: float, most: float | None = None) -> None:
    """Wait until a metric is between two values, or at one."""
    value = -1.0
    for _ in range(500):
        value = await metric(client, name)
        if least <= value <= (least if most is None else most):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{name} is {value}")


async def until_answered(client: httpx.AsyncClient, status: int) -> httpx.Response:
    """The first answer with this status."""
    for _ in range(500):
        response = await client.post("/rerank", json=SHORT, headers=ONE)
        if response.status_code == status:
            return response
        await asyncio.sleep(0.02)
    raise AssertionError(f"no {status}, but {response.status_code}")


def asks_and_reads_nothing(gateway: Running, body: bytes) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", gateway.port))
    head = POST.replace(b"/rerank", b"/v1/rerank") + AS_ONE + b"Content-Length: %d\r\n\r\n" % len(body)
    client.sendall(head + body)
    return client


async def test_answers_that_nobody_reads_are_counted_and_given_up_and_slow_readers_are_not():
    body = httpx.Request("POST", "http://gateway", json=LONG).content
    async with serving(FakeVllm(), WRITE_TIMEOUT_S="2") as (gateway, client), AsyncExitStack() as stack:
        for _ in range(5):
            stack.enter_context(await asyncio.to_thread(asks_and_reads_nothing, gateway, body))
        await until_it_is(client, "request_bytes_in_flight", 5 * 7_200_000, 5 * 7_300_000)
        read = 0
        async with client.stream("POST", "/v1/rerank", json=LONG, headers=OTHER) as response:
            async for part in response.aiter_raw(MIB):
                read += len(part)
                await asyncio.sleep(0.4)
        assert read == int(response.headers["Content-Length"]) > 7 * 900_000
        await until_it_is(client, 'connections_shed_total{reason="unread"}', 5)
        await until_it_is(client, "request_bytes_in_flight", 0)


async def test_a_key_whose_answers_are_not_read_loses_the_oldest_and_no_other_key_feels_it():
    body = httpx.Request("POST", "http://gateway", json=LONG).content
    settings = {"MAX_BYTES_IN_FLIGHT": str(64 * MIB), "WRITE_TIMEOUT_S": "60"}
    async with serving(FakeVllm(), **settings) as (gateway, client), AsyncExitStack() as stack:
        for _ in range(8):
            stack.enter_context(await asyncio.to_thread(asks_and_reads_nothing, gateway, body))
            answer = await client.post("/v1/rerank", json=LONG, headers=OTHER)
            assert answer.status_code == 200
            assert len(answer.content) > 7 * 900_000
        assert await metric(client, "request_bytes_in_flight") <= 32 * MIB


async def test_bodies_that_are_announced_or_half_sent_shut_no_other_key_out():
    settings = {"MAX_BYTES_IN_FLIGHT": str(16 * MIB), "MAX_BODY_BYTES": str(2 * MIB)}
    head = POST + AS_ONE + b"Content-Length: %d\r\n\r\n" % (2 * MIB)
    async with serving(FakeVllm(), **settings) as (gateway, client), AsyncExitStack() as stack:
        writers = [(await stack.enter_async_context(connected(gateway.port)))[1] for _ in range(40)]
        for writer in writers:
            writer.write(head)
        # Nothing of what is only announced is held.
        await until_it_is(client, "connections", 41, 42)
        assert await metric(client, "request_bytes_in_flight") == 0
        large = {"query": "q", "documents": ["a" * 900_000, "b" * 900_000]}
        for headers in (ONE, OTHER):
            assert (await client.post("/rerank", json=large, headers=headers)).status_code == 200
        for writer in writers:
            writer.write(b" " * MIB)
        await until_it_is(client, "request_bytes_in_flight", 7 * MIB, 8 * MIB)
        refused = await client.post("/rerank", json=large, headers=ONE)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert (await client.post("/rerank", json=large, headers=OTHER)).status_code == 200


async def test_a_connection_that_is_one_too_many_is_told_so_and_closed():
    async with serving(FakeVllm(), MAX_CONNECTIONS="3") as (gateway, client), AsyncExitStack() as stack:
        writers = [(await stack.enter_async_context(connected(gateway.port)))[1] for _ in range(2)]
        await until_it_is(client, "connections", 3)
        writers += [(await stack.enter_async_context(connected(gateway.port)))[1]]
        refused = await until_answered(client, 503)
        assert (refused.headers["Retry-After"], refused.headers["Connection"]) == ("1", "close")
        assert refused.json()["error"].keys() == {"message", "type", "param", "code"}
        # A probe that got this would have the process restarted.
        assert (await client.get("/livez")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).status_code == 503
        # What a client has still to send when it is refused doesn't keep it from reading why.
        assert (await client.post("/rerank", json=LONG, headers=ONE)).status_code == 503
        async with connected(gateway.port) as (reader, _), asyncio.timeout(10):
            assert await reader.read() == b""
        writers[0].transport.abort()
        await until_answered(client, 200)
        assert await metric(client, 'connections_shed_total{reason="full"}') >= 3


async def test_without_files_left_no_worker_is_blamed_and_all_is_well_when_there_are_some_again():
    files = 64
    worker = FakeVllm(fixed_s=0.02)
    settings = {"CACHE": "off", "WORKER_MAX_CALLS": "64", "MAX_ATTEMPTS": "1", "MAX_BATCH": "1", "MIN_BATCH": "1"}
    async with worker.running(), running("serve", worker, **settings) as gateway:
        # It looks at its limits when it has loaded all that it needs, which takes it half a second.
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (files, files))
        await gateway.until_usable()
        body = b'{"query":"q","documents":[%s]}' % b",".join(b'"%d"' % number for number in range(60))
        sent = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
        async with AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(connected(gateway.port)) for _ in range(files)]
            for _, writer in streams:
                writer.write(sent)
            async with asyncio.timeout(30):
                heads = await asyncio.gather(*[_status(reader) for reader, _ in streams])
        assert {*heads} <= {b"200", b"503", b""}, heads
        assert b"200" in heads or b"503" in heads
        async with httpx.AsyncClient(base_url=gateway.url, timeout=20) as client:
            metrics = (await client.get("/metrics")).text
            answer = await client.post("/rerank", json={"query": "q", "documents": ["a"]})
            assert answer.json()["results"][0]["relevance_score"] == score_of("q", "a")
        assert 'outcome="no_files"' in metrics
        assert "breaker_opened" not in gateway.text
        assert gateway.text.count("Too many open files") <= 1


async def _status(reader: asyncio.StreamReader) -> bytes:
    """The status of an answer; empty when there is none."""
    try:
        line = await reader.readline()
    except ConnectionError:
        return b""
    return line.split()[1] if line else b""
