"""What a scoring call costs each HTTP client in CPU time; the numbers of decision 0016.

A call carries 32 documents of about 700 bytes, and the answer 32 scores, as between gateway and worker. The server
runs in a process of its own, so that only the client's work is counted. Clients that aren't installed are left out:

    .venv/bin/python bench/transport.py
"""

import asyncio
import importlib
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from multiprocessing.connection import Connection
from typing import cast
from urllib.parse import urlsplit

import aiohttp
import httpx
import orjson
import uvloop

from app.net.http1 import Connections

DOCUMENTS = 32
DOCUMENT_CHARS = 700
CALLS = 1024
IN_FLIGHT = (4, 64)
ROUNDS = 7

BODY = orjson.dumps({"model": "m", "text_1": "which one is it?", "text_2": ["x" * DOCUMENT_CHARS] * DOCUMENTS})
ANSWER = orjson.dumps(
    {
        "id": "score-1",
        "object": "list",
        "created": 1,
        "model": "m",
        "data": [{"index": index, "object": "score", "score": index / 97} for index in range(DOCUMENTS)],
        "usage": {"prompt_tokens": 5000, "total_tokens": 5000},
    }
)
HEADERS = {"Content-Type": "application/json", "X-Request-Id": "bench"}

# Makes one call and returns the whole body of its answer.
Call = Callable[[], Awaitable[bytes]]


class _Worker(asyncio.Protocol):
    """Answers every request with the same scores."""

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        _, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < len(BODY):
            return
        self._received = b""
        reply = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
        self._transport.write(reply + ANSWER)


def _serve(told: Connection) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Worker, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


async def _aiohttp(stack: AsyncExitStack, url: str) -> Call:
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))

    async def call() -> bytes:
        async with session.post(url, data=BODY, headers=HEADERS, allow_redirects=False) as response:
            return await response.read()

    return call


async def _httpx(stack: AsyncExitStack, url: str, transport: httpx.AsyncBaseTransport | None = None) -> Call:
    client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, trust_env=False))

    async def call() -> bytes:
        return (await client.post(url, content=BODY, headers=HEADERS)).content

    return call


async def _httpx2(stack: AsyncExitStack, url: str) -> Call:
    client = await stack.enter_async_context(importlib.import_module("httpx2").AsyncClient(trust_env=False))

    async def call() -> bytes:
        return bytes((await client.post(url, content=BODY, headers=HEADERS)).content)

    return call


async def _httpx_over_aiohttp(stack: AsyncExitStack, url: str) -> Call:
    transport: httpx.AsyncBaseTransport = importlib.import_module("httpx_aiohttp").AiohttpTransport()
    return await _httpx(stack, url, transport)


async def _own(stack: AsyncExitStack, url: str) -> Call:
    parts = urlsplit(url)
    connections = Connections(str(parts.hostname), parts.port or 80, tls=None, connect_timeout_s=2.0, idle_s=2.5)
    stack.callback(connections.close)
    lines = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{lines}Content-Length: {len(BODY)}\r\n\r\n".encode()

    async def call() -> bytes:
        return (await connections.request(lambda: head, BODY, max_answer_bytes=2**26)).body

    return call


async def _pyreqwest(stack: AsyncExitStack, url: str) -> Call:
    builder = importlib.import_module("pyreqwest.client").ClientBuilder
    client = await stack.enter_async_context(builder().build())

    async def call() -> bytes:
        response = await client.post(url).headers(HEADERS).body_bytes(BODY).build().send()
        return bytes(await response.bytes())

    return call


async def _niquests(stack: AsyncExitStack, url: str) -> Call:
    session = await stack.enter_async_context(importlib.import_module("niquests").AsyncSession())

    async def call() -> bytes:
        return bytes((await session.post(url, data=BODY, headers=HEADERS)).content)

    return call


CLIENTS: dict[str, Callable[[AsyncExitStack, str], Awaitable[Call]]] = {
    "httpx": _httpx,
    "httpx2": _httpx2,
    "httpx over aiohttp": _httpx_over_aiohttp,
    "niquests": _niquests,
    "aiohttp": _aiohttp,
    "pyreqwest": _pyreqwest,
    "our own": _own,
}


async def _cpu_ms(call: Call, in_flight: int) -> float:
    """CPU time of this process per call, all its threads included."""

    async def several() -> None:
        for _ in range(CALLS // in_flight):
            if await call() != ANSWER:
                raise AssertionError

    started = time.process_time()
    await asyncio.gather(*(several() for _ in range(in_flight)))
    return (time.process_time() - started) * 1000 / CALLS


async def _measure(url: str) -> dict[str, list[str]]:
    """For each client, one cell per number of calls in flight."""
    async with AsyncExitStack() as stack:
        calls = {}
        for name, connect in CLIENTS.items():
            with suppress(ModuleNotFoundError):
                calls[name] = await connect(stack, url)
                await _cpu_ms(calls[name], max(IN_FLIGHT))
        # Round by round, so that a disturbance of the machine doesn't hit one client only.
        rounds = [
            {(name, width): await _cpu_ms(call, width) for name, call in calls.items() for width in IN_FLIGHT}
            for _ in range(ROUNDS)
        ]
    return {
        name: [_cell([one[name, width] for one in rounds]) for width in IN_FLIGHT]
        for name in sorted(calls, key=lambda name: -rounds[0][name, IN_FLIGHT[0]])
    }


def _cell(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    """Print a table."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    worker = spawn.Process(target=_serve, args=(theirs,), daemon=True)
    worker.start()
    table = uvloop.run(_measure(f"http://127.0.0.1:{ours.recv()}/v1/score"))
    worker.terminate()
    worker.join()
    print(f"ms of CPU per call: {len(BODY)} bytes out, {len(ANSWER)} bytes back; median of {ROUNDS} (range)\n")
    print("| client |", " | ".join(f"{width} in flight" for width in IN_FLIGHT), "|\n|---|---|---|")
    for name, cells in table.items():
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
