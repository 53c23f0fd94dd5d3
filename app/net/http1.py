"""An HTTP/1.1 client for one server, over connections that are kept: as much as an inference server speaks, no more.

Decision 0016 says why it is our own, and what others would cost. The parser is llhttp, that of Node.js.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from app.net.dialer import Dialer

_FIRST_FINAL_STATUS = 200
# What an answer may have beside its body, and as much again as that: heads, chunk sizes, trailers. uvicorn's chunks
# have 12 bytes for 64 KiB. A read brings up to 256 KiB more before anybody counts.
_MAX_FRAMING_BYTES = 64 * 2**10
# A server that had closed a kept connection says so as soon as it is used. Then the call is made again, on a new one,
# since the next that was kept may be closed as well. What ends later was perhaps worked on.
_RACE_S = 0.5


class Reply(NamedTuple):
    """A whole answer.

    Args:
        status: Of HTTP.
        headers: By name in lower case; of several with one name the last.
        body: The bytes as they came: nothing is decompressed, since nothing compressed is asked for.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Broken(Exception):
    """The connection ended before the answer was whole, or what came is no HTTP.

    Args:
        answered: Whether the answer had begun: its head was there.
    """

    def __init__(self, *, answered: bool) -> None:
        super().__init__()
        self.answered = answered


class TooLong(Exception):
    """The answer is longer than the limit; the message says which part."""


@dataclass(eq=False, repr=False)
class Connections:
    """The connections to one server, as many as there are calls at once; each is kept for the next call for a while.

    Args:
        host: Name or address.
        port: The port the server listens on.
        tls: Checks the server's certificate; None without TLS.
        connect_timeout_s: Time for a connection to come about.
        idle_s: Time for which one is kept without a call.
    """

    host: str
    port: int
    _: KW_ONLY
    tls: ssl.SSLContext | None
    connect_timeout_s: float
    idle_s: float

    def __post_init__(self) -> None:
        self._dialer = Dialer(self.host, self.port)
        self._is_closed = False
        self._open: set[_Connection] = set()
        # The one that was used last is at the end.
        self._idle: list[_Connection] = []

    async def request(
        self, head: Callable[[], bytes], body: bytes, *, max_answer_bytes: int, is_alone: bool = False
    ) -> Reply:
        """The whole answer to one request. Cancelling closes the connection, by which the server notices.

        Args:
            head: Writes it, from the request line to the empty line, anew for each time that the request is sent.
            body: As long as the head says.
            max_answer_bytes: Of an answer with its head.
            is_alone: Whether it has a new connection for itself. One that is used again may end at that moment.

        Raises:
            OSError: no connection came about; TimeoutError, ssl.SSLError and, for its name, socket.gaierror are such.
            Broken, TooLong: as their names say.
        """
        if is_alone:
            connection = await self._connect()
            try:
                return await connection.request(head(), body, max_answer_bytes)
            finally:
                connection.close()
        if not self._idle:
            return await self._request_on(await self._connect(), head(), body, max_answer_bytes)
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            return await self._request_on(self._idle.pop(), head(), body, max_answer_bytes)
        except Broken as exc:
            if exc.answered or self._is_closed or loop.time() - began > _RACE_S:
                raise
            try:
                connection = await self._connect()
            except OSError:
                # The server is gone, perhaps because of this request.
                raise exc from None
        return await self._request_on(connection, head(), body, max_answer_bytes)

    def close(self) -> None:
        """Close all connections, for good; calls under way break."""
        self._is_closed = True
        for connection in list(self._open):
            connection.close()

    def __repr__(self) -> str:
        return f"<Connections to {self.host}:{self.port}, {len(self._open)} open, {len(self._idle)} idle>"

    async def _request_on(self, connection: "_Connection", head: bytes, body: bytes, max_answer_bytes: int) -> Reply:
        reply = await connection.request(head, body, max_answer_bytes)
        if connection.is_reusable:
            connection.keep_idle(self.idle_s)
            self._idle.append(connection)
        return reply

    async def _connect(self) -> "_Connection":
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                connection = await self._open_one()
        except TimeoutError as exc:
            if self._dialer.awaits_name_server:
                reason = f"no name server answered in {self.connect_timeout_s:g} s"
                raise socket.gaierror(socket.EAI_AGAIN, reason) from exc
            raise
        self._open.add(connection)
        if self._is_closed:
            connection.close()
            raise Broken(answered=False)
        return connection

    async def _open_one(self) -> "_Connection":
        sock = await self._dialer.connect()
        # The loop closes the socket when it fails.
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(self._forget),
            sock=sock,
            ssl=self.tls,
            server_hostname=self.host if self.tls else None,
        )
        return connection

    def _forget(self, connection: "_Connection") -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)


class _Connection(asyncio.Protocol):
    """One connection; its parser calls the methods that begin with `on_`."""

    def __init__(self, forget: Callable[["_Connection"], None]) -> None:
        # Whether the last answer is whole, nothing came after it, and the server keeps the connection.
        self.is_reusable = False
        self._forget = forget
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Reply] = self._loop.create_future()
        # Nobody awaits one yet.
        self._answer.cancel()
        self._expiry: asyncio.TimerHandle | None = None
        self._has_head = self._has_length = False

    async def request(self, head: bytes, body: bytes, max_answer_bytes: int) -> Reply:
        """The whole answer to one request, as `Connections.request`."""
        if self._expiry:
            self._expiry.cancel()
        self.is_reusable = self._has_head = self._has_length = False
        self._size_bytes = 0
        self._max_answer_bytes = max_answer_bytes
        self._body = bytearray()
        self._answer = self._loop.create_future()
        self._transport.writelines([head, body])
        try:
            reply = await self._answer
        except BaseException:
            self.close()
            raise
        if not self.is_reusable:
            self.close()
        return reply

    def keep_idle(self, seconds: float) -> None:
        """Close the connection in so many seconds, unless it is used before."""
        self._expiry = self._loop.call_later(seconds, self.close)

    def close(self) -> None:
        """Close the connection at once."""
        self.is_reusable = False
        self._forget(self)
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._answer.done():
            self.close()
            return
        self._size_bytes += len(data)
        if self._size_bytes > self._max_answer_bytes:
            self._fail(TooLong(f"an answer above {self._max_answer_bytes} bytes"))
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
            self._fail(Broken(answered=self._has_head), exc)
        if self._size_bytes > _MAX_FRAMING_BYTES + 2 * len(self._body):
            self._fail(TooLong("an answer that has far more headers and chunk sizes than content"))

    def eof_received(self) -> None:
        # The transport closes itself, but only in a moment.
        self.is_reusable = False
        self._forget(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._has_head and not self._has_length and exc is None and not self._answer.done():
            self._succeed()
        self._fail(Broken(answered=self._has_head), exc)

    def on_message_begin(self) -> None:
        self.is_reusable = False
        self._headers: dict[str, str] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        # What comes later is a trailer.
        if not self._has_head:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._has_head = self._parser.get_status_code() >= _FIRST_FINAL_STATUS
        self._has_length = "content-length" in self._headers or "transfer-encoding" in self._headers

    def on_body(self, part: bytes) -> None:
        # A list of parts would take 50 bytes more for each, of which there may be as many as bytes.
        self._body += part

    def on_message_complete(self) -> None:
        # What comes before the final answer is a message, too, and so is what should not come after it.
        if self._has_head and not self._answer.done():
            # A server that answers early might never read the request to its end.
            self.is_reusable = self._parser.should_keep_alive() and not self._transport.get_write_buffer_size()
            self._succeed()

    def _succeed(self) -> None:
        self._answer.set_result(Reply(self._parser.get_status_code(), self._headers, bytes(self._body)))

    def _fail(self, error: Exception, cause: Exception | None = None) -> None:
        # The answer may be whole, and what came after it no HTTP.
        if not self._answer.done():
            error.__cause__ = cause
            self._answer.set_exception(error)
        self.close()
