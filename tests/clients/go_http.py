"""Go's http.DefaultClient: the bytes it writes, its pool of idle connections, its redirects."""

import asyncio
import base64
import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

_MOST_REDIRECTS = 10
_IDLE_PER_HOST = 2
IDLE_S = 90.0


class Failed(Exception):
    """There is no answer: what `Do` returns as an error."""


@dataclass(frozen=True)
class Exchange:
    """One request and its answer.

    Args:
        sent: The request's bytes.
        status: The status line's code and reason, such as `503 Service Unavailable`.
        headers: Names in lower case.
        body: Read to its end.
    """

    sent: bytes
    status: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> int:
        return int(self.status[:3])


@dataclass(eq=False)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_since: float = 0.0


@dataclass
class DefaultClient:
    """Keeps 2 idle connections per host for 90 s, and opens as many as there are calls at once."""

    exchanges: list[Exchange] = field(default_factory=list)
    opened: int = 0
    _idle: dict[str, list[_Connection]] = field(default_factory=dict)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Exchange:
        """The answer to a POST, redirects followed.

        Raises:
            Failed: no answer came.
        """
        method = "POST"
        for _ in range(_MOST_REDIRECTS):
            exchange = await self._exchange(urlsplit(url), request_bytes(method, url, headers, body))
            if exchange.code not in {301, 302, 303, 307, 308} or "location" not in exchange.headers:
                return exchange
            url = urljoin(url, exchange.headers["location"])
            if exchange.code in {301, 302, 303}:
                method, body = "GET", b""
        raise Failed(f"{method.title()} {url!r}: stopped after {_MOST_REDIRECTS} redirects")

    async def close(self) -> None:
        """Close what is idle."""
        for connection in chain.from_iterable(self._idle.values()):
            await _close(connection)
        self._idle.clear()

    async def _exchange(self, url: SplitResult, request: bytes) -> Exchange:
        connection = await self._connection(url)
        try:
            exchange = await _answer(connection, request)
        except (OSError, EOFError) as exc:
            connection.writer.close()
            # Go doesn't send a POST again on its own, not even when a kept connection turned out to be closed.
            raise Failed(f'Post "{url.geturl()}": {exc}') from exc
        except asyncio.CancelledError:
            connection.writer.close()
            raise
        self.exchanges.append(exchange)
        await self._give_back(url, connection, exchange)
        return exchange

    async def _connection(self, url: SplitResult) -> _Connection:
        idle = self._idle.get(url.netloc, [])
        while idle:
            connection = idle.pop()
            closed = connection.reader.at_eof() or connection.writer.is_closing()
            if not closed and _now() - connection.idle_since < IDLE_S:
                return connection
            await _close(connection)
        self.opened += 1
        try:
            return _Connection(*await asyncio.open_connection(url.hostname, url.port or 80, limit=2**20))
        except OSError as exc:
            raise Failed(f'Post "{url.geturl()}": dial tcp: {exc}') from exc

    async def _give_back(self, url: SplitResult, connection: _Connection, exchange: Exchange) -> None:
        idle = self._idle.setdefault(url.netloc, [])
        if exchange.headers.get("connection", "").lower() == "close" or len(idle) == _IDLE_PER_HOST:
            await _close(connection)
            return
        connection.idle_since = _now()
        idle.append(connection)


def request_bytes(method: str, url: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A request as Go writes it: its own headers first, then the given ones sorted, then Accept-Encoding."""
    parts = urlsplit(url)
    given = {name.title(): value for name, value in headers.items()}
    if parts.username is not None and "Authorization" not in given:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        given["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [
        f"{method} {target} HTTP/1.1",
        f"Host: {parts.netloc.rpartition('@')[2]}",
        "User-Agent: Go-http-client/1.1",
        *([f"Content-Length: {len(body)}"] if body else []),
        *(f"{name}: {given[name]}" for name in sorted(given)),
        "Accept-Encoding: gzip",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def send(url: str, request: bytes) -> Exchange:
    """The answer to bytes that are sent over a connection of their own."""
    parts = urlsplit(url)
    connection = _Connection(*await asyncio.open_connection(parts.hostname, parts.port, limit=2**20))
    try:
        return await _answer(connection, request)
    finally:
        await _close(connection)


async def _answer(connection: _Connection, request: bytes) -> Exchange:
    """Write and read at the same time, as Go does: an early answer is read while the body is still on its way."""
    connection.writer.write(request)
    head = await connection.reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await _body(connection.reader, headers)
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    return Exchange(request, first.partition(" ")[2], headers, body)


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers["content-length"]))
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)


async def _close(connection: _Connection) -> None:
    connection.writer.close()
    try:
        await connection.writer.wait_closed()
    except OSError:
        return


def _now() -> float:
    return asyncio.get_running_loop().time()
