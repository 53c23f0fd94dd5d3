"""Answers that are given while a client still sends: they arrive, whichever client it is and however much it sends."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import ssl
import urllib.request
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError

import httpx
import pytest
import trustme

from tests.chaos.test_pinned import metric, until_it_is
from tests.fake_vllm import FakeVllm
from tests.integration.commands import Running, running
from tests.security.raw import connected

JSON = {"Content-Type": "application/json", "Authorization": "Bearer hush"}
MOST_BYTES = 2_000_000
# A refusal by its status: the path, the headers, and whether the body comes in chunks, without its length.
REFUSALS: dict[int, tuple[str, dict[str, str], bool]] = {
    401: ("/v1/rerank", JSON | {"Authorization": "Bearer wrong"}, False),
    404: ("/nothing", JSON, False),
    405: ("/v1/models", JSON, True),
    413: ("/v1/rerank", JSON, False),
    415: ("/rerank", JSON | {"Content-Type": "text/plain"}, False),
    # The gateway holds as many bytes as it may.
    429: ("/rerank", JSON, True),
}
SIZES = [5_000_000] * 60 + [15_000_000] * 26 + [64_000_000] * 14
STATUSES = [str(status) for status in islice(cycle(REFUSALS), len(SIZES))]


class Request(NamedTuple):
    url: str
    headers: dict[str, str]
    size: int
    is_chunked: bool


def requests(gateway: Running) -> list[Request]:
    """A hundred requests that are refused, with each status in turn."""
    return [
        Request(gateway.url + path, headers, size, is_chunked)
        for size, (path, headers, is_chunked) in zip(SIZES, cycle(REFUSALS.values()), strict=False)
    ]


@asynccontextmanager
async def refusing(*, tls: ssl.SSLContext | None = None, **settings: str) -> AsyncIterator[Running]:
    """A gateway that holds nearly as many bytes of bodies as it may."""
    limits = {"MAX_BODY_BYTES": str(MOST_BYTES), "MAX_BYTES_IN_FLIGHT": str(MOST_BYTES), "BODY_TIMEOUT_S": "600"}
    chosen = {"API_KEYS": "one:hush", "DRAIN_S": "0"} | limits | settings
    async with FakeVllm().running() as worker, running("serve", worker, **chosen) as gateway:
        await gateway.until_usable()
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port, ssl=tls)
        try:
            lines = ["POST /rerank HTTP/1.1", "Host: gateway", f"Content-Length: {MOST_BYTES}"]
            lines += [f"{name}: {value}" for name, value in JSON.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + b" " * (MOST_BYTES - 1000))
            await writer.drain()
            yield gateway
        finally:
            writer.transport.abort()


def by_urllib(requests: list[Request], tls: ssl.SSLContext | None = None) -> list[str]:
    """The statuses that `urllib` hears, which sends all before it reads, and so do `requests` and milvus-lite."""
    return [_by_urllib(one, tls) for one in requests]


def _by_urllib(one: Request, tls: ssl.SSLContext | None) -> str:
    body = iter([bytes(one.size)]) if one.is_chunked else bytes(one.size)
    post = urllib.request.Request(one.url, body, one.headers)  # noqa: S310 - the gateway's own URL
    try:
        urllib.request.urlopen(post, context=tls).close()  # noqa: S310 - as above
    except HTTPError as refused:
        return str(json.loads(refused.read())["error"]["code"])
    except URLError as error:
        return str(error)
    return "not refused"


def by_sockets(requests: list[Request]) -> list[str]:
    """The statuses that come back on raw sockets when all is sent before anything is read."""
    return [_by_socket(one) for one in requests]


def _by_socket(one: Request) -> str:
    url = httpx.URL(one.url)
    framing = "Transfer-Encoding: chunked" if one.is_chunked else f"Content-Length: {one.size}"
    lines = [f"POST {url.path} HTTP/1.1", "Host: gateway", framing]
    lines += [f"{name}: {value}" for name, value in one.headers.items()]
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (one.size, bytes(one.size)) if one.is_chunked else bytes(one.size)
    try:
        with socket.create_connection((url.host, url.port or 0)) as client:
            client.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            with client.makefile("rb") as answer:
                head, _, content = answer.read().partition(b"\r\n\r\n")
    except OSError as error:
        return str(error)
    assert b"\r\nconnection: close" in head.lower()
    assert json.loads(content)["error"]
    return head.split()[1].decode()


async def by_program(*command: str, requests: list[Request]) -> list[str]:
    """The statuses that a program prints which is given the requests as JSON."""
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=STDOUT)
    given = json.dumps([one._asdict() for one in requests]).encode()
    output, _ = await process.communicate(given)
    return output.decode().splitlines()


def path_of(command: str) -> str:
    """Where a command is; a test that needs it is skipped without, but never in CI."""
    path = shutil.which(command)
    if path is None:
        missing = f"there is no {command}: tests/chaos/install.sh installs it on Debian"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    return path


@pytest.mark.parametrize("ask", [by_urllib, by_sockets], ids=["urllib", "raw sockets"])
async def test_who_is_refused_while_it_still_sends_hears_why(ask: Callable[[list[Request]], list[str]]):
    async with refusing() as gateway:
        assert await asyncio.to_thread(ask, requests(gateway)) == STATUSES


async def test_nodes_fetch_hears_why_it_is_refused_while_it_still_sends():
    node = path_of("node")
    async with refusing() as gateway:
        program = str(Path(__file__).with_name("refused.mjs"))
        assert await by_program(node, program, requests=requests(gateway)) == STATUSES


# A Go without a compiled standard library compiles it first, for 10 s and more.
@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_go_client_hears_why_it_is_refused_while_it_still_sends(tmp_path: Path):
    go, program = path_of("go"), str(tmp_path / "refused")
    build = await asyncio.create_subprocess_exec(
        go,
        "build",
        "-o",
        program,
        str(Path(__file__).with_name("refused.go")),
        env=os.environ | {"GOCACHE": str(tmp_path / "cache"), "GO111MODULE": "off", "CGO_ENABLED": "0"},
    )
    assert await build.wait() == 0
    async with refusing() as gateway:
        assert await by_program(program, requests=requests(gateway)) == STATUSES


async def test_who_is_refused_over_tls_while_it_still_sends_hears_why(tmp_path: Path):
    authority, certificate = trustme.CA(), tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with refusing(tls=trusting, TLS_CERT_FILE=str(certificate)) as gateway:
        assert await asyncio.to_thread(by_urllib, requests(gateway), trusting) == STATUSES


async def test_who_is_one_connection_too_many_hears_it_while_it_still_sends():
    async with refusing(MAX_CONNECTIONS="50") as gateway, AsyncExitStack() as stack:
        for _ in range(49):
            await stack.enter_async_context(connected(gateway.port))
        asked = [Request(gateway.url + "/rerank", JSON, 5_000_000, is_chunked) for is_chunked in (True, False)] * 10
        for ask in (by_urllib, by_sockets):
            assert await asyncio.to_thread(ask, asked) == ["503"] * 20


async def test_what_is_discarded_counts_as_nobodys_bytes():
    async with refusing() as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        held = await metric(client, "request_bytes_in_flight")
        async with connected(gateway.port) as (reader, writer):
            writer.write(b"POST /nothing HTTP/1.1\r\nHost: gateway\r\nContent-Length: 90000000\r\n\r\n")
            for _ in range(8):
                writer.write(bytes(10**7))
                await writer.drain()
            assert await metric(client, "request_bytes_in_flight") == held
            assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
        await until_it_is(client, "connections", 2)


async def test_a_stop_waits_for_a_refused_client_until_it_has_sent_all():
    async with refusing() as gateway, connected(gateway.port) as (reader, writer):
        writer.write(b"POST /nothing HTTP/1.1\r\nHost: gateway\r\nContent-Length: 20000000\r\n\r\n" + bytes(10**7))
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        assert re.search(rb"connection: close", head.lower())
        gateway.tell(signal.SIGTERM)
        await gateway.until('"draining"')
        await asyncio.sleep(0.5)
        writer.write(bytes(10**7))
        await writer.drain()
        assert b"Nothing is at /nothing" in await reader.read()
