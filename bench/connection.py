"""A kept connection that costs little itself: requests are ready as bytes, answers are not decoded."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

_OK = b" 200 "


class NotAnswered(Exception):
    """An answer that isn't a 200: its status and body."""


class Connection:
    """Sends one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> bytes:
        """The body of the answer.

        Raises:
            NotAnswered: the answer isn't a 200.
            OSError: the connection is gone.
            asyncio.IncompleteReadError: it went away before the answer was whole.
        """
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        body = await self._body(head)
        status, _, fields = head.partition(b"\r\n")
        if _OK not in status:
            raise NotAnswered(f"{status.decode()}: {body.decode(errors='replace')[:500]}")
        if b"connection: close" in fields:
            raise ConnectionResetError("the server closes its connections after each answer")
        return body

    async def _body(self, head: bytes) -> bytes:
        length = head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        if length:
            return await self._reader.readexactly(int(length))
        pieces = []
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            pieces.append((await self._reader.readexactly(size + 2))[:-2])
        await self._reader.readuntil(b"\r\n")
        return b"".join(pieces)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection to the host of `url`, until the end of the block."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def get(path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """A request for a page."""
    return _head("GET", path, headers or {})


def post(body: bytes, path: str, headers: Mapping[str, str]) -> bytes:
    """A request with a JSON body."""
    about = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return _head("POST", path, about | dict(headers)) + body


def _head(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"
