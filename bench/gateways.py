"""Gateways as processes on loopback, what they cost, and connections that cost little themselves."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.fake_vllm import FakeVllm
from tests.integration.commands import free_port

_REPOSITORY = Path(__file__).parents[1]
_PATIENCE_S = 30.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Gateway:
    """A gateway that runs."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """The CPU time it has taken so far, in steps of 10 ms; source: proc(5), `utime` and `stime`."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / _TICKS_PER_S


class Connection:
    """A kept connection for requests that are ready as bytes, one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> bytes:
        """The body of the answer.

        Raises:
            ValueError: the answer isn't a 200.
        """
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = head.partition(b"ontent-length: ")[2].partition(b"\r\n")[0]
        body = await self._reader.readexactly(int(length))
        if not head.startswith(b"HTTP/1.1 200"):
            raise ValueError(body.decode())
        return body


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    """A connection to a port of this machine, until the end of the block."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


def post(body: bytes) -> bytes:
    """A rerank request with `body`, as Milvus sends it."""
    head = "POST /rerank HTTP/1.1\r\nHost: gateway:8080\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def gateway(workers: Sequence[FakeVllm], **settings: str) -> AsyncIterator[Gateway]:
    """A gateway over running `workers`, until the end of the block. It logs each request, to nowhere."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RERANK_")} | settings
    environment |= {"RERANK_PORT": str(port), "RERANK_WORKERS": ",".join(worker.url for worker in workers)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.chaos.gateway", "serve"),
        cwd=_REPOSITORY,
        env=environment,
        stdin=PIPE,
        stdout=DEVNULL,
    )
    try:
        await _until_ready(port)
        yield Gateway(port, process.pid)
    finally:
        process.kill()
        await process.wait()


async def _until_ready(port: int) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            with suppress(OSError, ValueError):
                async with connected(port) as connection:
                    await connection.ask(b"GET /readyz HTTP/1.1\r\nHost: gateway:8080\r\n\r\n")
                    return
            await asyncio.sleep(0.05)
