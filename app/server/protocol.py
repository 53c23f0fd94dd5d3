"""Uvicorn's HTTP/1.1 protocol with limits on heads, time limits on clients, and answers in one write.

`app/api/body.py` limits bodies. Heads uvicorn keeps without any limit of size or time, and small headers take 20 times
their size in memory.

Offers to switch the protocol are ignored. Java's HttpClient and `curl --http2` make one with their first request
(`Upgrade: h2c`), and go on in HTTP/1.1 when the answer doesn't take it up.

Uvicorn's insides are used (attributes and methods of `HttpToolsProtocol` and `RequestResponseCycle`), so pyproject.toml
bounds its version from above; tests/security/test_heads.py and tests/integration/test_answers.py fail when they change.
"""

import asyncio
import socket
from typing import ClassVar

from httptools import HttpParserError, HttpParserUpgrade
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.api.request import CLIENT_CONNECTION, LONG_BYTES, ClientConnection, do_nothing
from app.server.clients import CLIENTS, Clients

# Most bytes outside of bodies per request: head, chunk extensions, trailers. What comes in one read is counted whole.
_MOST_BYTES = 64 * 2**10
_MOST_HEADERS = 256
# Most unsent bytes of an answer before its writer has to wait; without TLS it is the default.
_MOST_UNSENT_BYTES = 64 * 2**10
# The beginning of every answer, whatever its status.
_FIRST_BYTES = b"HTTP/1.1 "
# Seconds until the second byte is sent to a client that may be gone. Each pause is twice the one before, so the first
# bytes of an answer last for 25 s.
_FIRST_PAUSE_S = 0.05
# The headers of an offer to switch the protocol; `Connection` names them, too.
_UPGRADE_HEADERS = frozenset({b"upgrade", b"http2-settings"})


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 that refuses heads above 64 KiB or 256 headers with 400, and closes when one takes longer than `head_s`.

    A connection on which no request begins is closed like an idle one.
    """

    head_s: ClassVar[float] = 10.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        self._clients: Clients = self.app_state.get(CLIENTS) or Clients()
        if not self._clients.has_room(transport):
            return
        self._clients.connections += 1
        super().connection_made(transport)
        self._is_in_head = self._is_in_body = False
        self._bytes_beside_bodies = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._ask_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._hang_up = transport.abort
        self._client_connection = ClientConnection(set(), _send_nothing, self._hang_up)
        self._head_without_offer = b""
        if self.scheme == "https":
            # The default with TLS is 512 KiB.
            transport.set_write_buffer_limits(_MOST_UNSENT_BYTES)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.connections -= 1
        for timer in (self._head_timer, self._ask_timer, self._write_timer):
            if timer:
                timer.cancel()
        super().connection_lost(exc)
        self._client_connection.has_left = True
        # Breaks a reference cycle between the last request and its connection.
        self._client_connection.send_whole = _send_nothing
        self._client_connection.hang_up = self._hang_up = do_nothing
        for leave in [*self._client_connection.on_loss]:
            leave()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's never keeps one
        """Keep a half-closed connection, by returning True, while its client may still wait for an answer.

        A client that is gone looks the same on TCP, but resets the connection when it is sent something. So it is sent
        the beginning of its answer, byte by byte. TLS can't be half closed here.
        """
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body or self.scheme == "https":
            self._await_reading()
            return False
        cycle.keep_alive = False
        # Pipelined requests wait behind the first, whose answer shows whether the client is there.
        if not self.pipeline and not cycle.response_started:
            cycle.transport = begun = _Begun(self.transport)
            self._ask_whether_there(cycle, begun, _FIRST_PAUSE_S)
        return True

    def _ask_whether_there(self, cycle: RequestResponseCycle, begun: "_Begun", pause_s: float) -> None:
        """Send a byte, and later look for a reset: event loops don't report one after the end of input."""
        if self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
        elif not cycle.response_started:
            begun.send_byte()
            self._ask_timer = self.loop.call_later(pause_s, self._ask_whether_there, cycle, begun, 2 * pause_s)

    def data_received(self, data: bytes) -> None:
        self._bytes_beside_bodies += len(data)
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self._refuse("Invalid HTTP request received.")
            return
        # A timer only for heads that come in parts: most come whole.
        if self._head_timer is None and (self._is_in_head or (self._bytes_beside_bodies and not self._is_in_body)):
            self._head_timer = self.loop.call_later(self.head_s, self._end_late_head)
        if self._bytes_beside_bodies > _MOST_BYTES and not self.transport.is_closing():
            self._refuse("The head of the request is too large.")

    def _refuse(self, message: str) -> None:
        self.send_400_response(message)
        self._await_reading()

    def _end_late_head(self) -> None:
        """Close the connection, after the answer to an earlier request if there is one."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
            self._await_reading()
        else:
            self.cycle.keep_alive = False

    def pause_writing(self) -> None:
        """Start the client's time limit for reading: too much is unsent."""
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        """Stop the client's time limit for reading: it has read enough."""
        super().resume_writing()
        if self._write_timer:
            self._write_timer.cancel()
            self._write_timer = None
        if self.transport.is_closing():
            self._await_reading()

    def on_response_complete(self) -> None:
        """End the request. Part of its answer may still be unsent."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._await_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, with a time limit for its client to read what is unsent."""
        if self.transport.get_write_buffer_size():
            self._shed_unread()
        else:
            super().timeout_keep_alive_handler()

    def _await_reading(self) -> None:
        """Abort the closing connection when its client doesn't read what is unsent in time."""
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self._clients.write_timeout_s, self._shed_unread)

    def _shed_unread(self) -> None:
        self._clients.on_shed("unread")
        self.transport.abort()

    def _parse(self, data: bytes) -> None:
        """Parse bytes from the client. After an offer to switch the protocol the parser has to be started anew."""
        unread: bytes | memoryview = data
        while unread:
            try:
                self.parser.feed_data(unread)
            except HttpParserUpgrade as stop:
                unread = memoryview(unread)[stop.args[0] :]
                head, self._head_without_offer = self._head_without_offer, b""
                self.parser.feed_data(head)
            else:
                return

    def shutdown(self) -> None:
        """Close the connection after the answer to a request that has begun to arrive; at once without one.

        While the gateway drains, every answer closes its connection.
        """
        if not self._is_in_head:
            super().shutdown()

    def on_message_begin(self) -> None:
        """Start the head of a request."""
        self._is_in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. Trailers are left out: uvicorn would put them among the headers."""
        if self._is_in_body:
            return
        if len(self.headers) >= _MOST_HEADERS:
            raise HttpParserError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, now that its head is complete."""
        if self.parser.should_upgrade():
            self._head_without_offer = self._written_without_offer()
            return
        self._is_in_head = False
        self._is_in_body = True
        self._bytes_beside_bodies = 0
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()
        self._client_connection = ClientConnection(self._client_connection.on_loss, self.send_whole, self._hang_up)
        self.scope["state"][CLIENT_CONNECTION] = self._client_connection

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._bytes_beside_bodies = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Mark the end of the request's body."""
        if self._head_without_offer:
            return
        self._is_in_body = False
        self._bytes_beside_bodies = 0
        super().on_message_complete()
        self._client_connection.has_sent_all = True
        # Uvicorn stops reading at a long body, and a disconnect would go unnoticed, so reading is resumed. Not so with
        # pipelined requests, which are kept in memory: after the first of them uvicorn rightly stops.
        if not self.pipeline:
            self.flow.resume_reading()

    def send_whole(self, response: Response) -> bool:
        """Send a whole answer in one write, as `ClientConnection.send_whole`. Returns False for the unusual ones."""
        cycle = self.cycle
        if self.pipeline or self.flow.write_paused or not cycle.keep_alive or len(response.body) > LONG_BYTES:
            return False
        parts: list[bytes | memoryview] = [STATUS_LINE[response.status_code]]
        for name, value in (*cycle.default_headers, *response.raw_headers):
            if name == b"connection":
                return False
            parts += (name, b": ", value, b"\r\n")
        parts += (b"\r\n", response.body)
        self.transport.write(b"".join(parts))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()
        return True

    def _written_without_offer(self) -> bytes:
        """The head that was just parsed, without its offer to switch the protocol.

        Raises:
            HttpParserError: the client asks for a tunnel with CONNECT.
        """
        method: bytes = self.parser.get_method()
        if method == b"CONNECT":
            raise HttpParserError("a tunnel")
        lines = [b"%s %s HTTP/%s" % (method, self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                tokens = (token.strip() for token in value.split(b","))
                kept = b", ".join(token for token in tokens if token.lower() not in _UPGRADE_HEADERS)
                lines.append(b"connection: " + kept)
            elif name not in _UPGRADE_HEADERS:
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"\r\n"])


class _Begun(asyncio.Transport):
    """Transport that sends the first bytes of an answer one by one, before the answer exists."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._sent = 0

    def send_byte(self) -> None:
        """Send one more of the first bytes, if any are left."""
        self._transport.write(_FIRST_BYTES[self._sent : self._sent + 1])
        self._sent = min(self._sent + 1, len(_FIRST_BYTES))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write `data` without the bytes that were sent already; uvicorn's first write has the whole first line."""
        self._transport.write(memoryview(data)[self._sent :])
        self._sent = 0

    def is_closing(self) -> bool:
        """As the transport."""
        return self._transport.is_closing()

    def close(self) -> None:
        """As the transport."""
        self._transport.close()


def _send_nothing(_: Response) -> bool:
    return False
