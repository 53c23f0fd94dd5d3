"""Bytes as an attacker writes them, and what comes back for them."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import httpx

BODY = b'{"query":"q","documents":["a","b"]}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
POST = b"POST /rerank HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
# What an attacker would like to be taken for a second request.
SECOND = b"GET /version HTTP/1.1\r\nHost: smuggled\r\n\r\n"
_STEP_S = 0.01


class Heard(NamedTuple):
    """What came back on a connection: the answers, and whether it was closed then."""

    text: bytes
    is_closed: bool

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.text)]


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a port of loopback until the end of the block, where it is cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**26)
    try:
        yield reader, writer
    finally:
        # What is still to be sent would keep it open.
        writer.transport.abort()


async def heard(client: httpx.AsyncClient, *pieces: bytes, within_s: float = 0.15) -> Heard:
    """What comes back for `pieces` until the connection is closed, or nothing came for `within_s`.

    The time is counted in steps, so that one in which the machine does nothing at all is no silence of the gateway.
    """
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    parts: list[bytes] = []
    try:
        # A gateway that has refused them early may not read all pieces.
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(5):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
        is_closed = await _ends(reader, parts, within_s)
        return Heard(b"".join(parts), is_closed)
    finally:
        # What is still to be sent would keep it open.
        writer.transport.abort()


async def _ends(reader: asyncio.StreamReader, parts: list[bytes], within_s: float) -> bool:
    while part := await _part(reader, within_s):
        parts.append(part)
    return part is not None


async def _part(reader: asyncio.StreamReader, within_s: float) -> bytes | None:
    """What comes next: nothing at the end of the connection, None when it is silent."""
    reading = asyncio.create_task(reader.read(2**16))
    for _ in range(round(within_s / _STEP_S)):
        done, _ = await asyncio.wait({reading}, timeout=_STEP_S)
        if done:
            with suppress(ConnectionError):
                return reading.result()
            return b""
    reading.cancel()
    return None
