"""Uvicorn's HTTP/1.1 protocol with limits on heads, time limits on clients, and answers in one write.

`app/api/body.py` limits bodies. Heads uvicorn keeps without any limit of size or time, and small headers take 20 times
their size in memory.

Uvicorn's insides are used (attributes and methods of `HttpToolsProtocol` and `RequestResponseCycle`), so pyproject.toml
bounds its version from above; tests/security/test_heads.py and tests/integration/test_answers.py fail when they change.
"""

import asyncio
from typing import ClassVar

from httptools import HttpParserError, HttpParserUpgrade
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.api.request import CLIENT_CONNECTION, LONG_BYTES, ClientConnection, do_nothing
from app.server.clients import CLIENTS, Clients
from app.server.half_closed import BegunAnswer
from app.server.lingering import LateClosing, LingeringClose
from app.server.upgrade_offer import written_without_offer

# Most bytes outside of bodies per request: head, chunk extensions, trailers. What comes in one read is counted whole.
_MOST_BYTES = 64 * 2**10
_MOST_HEADERS = 256
# Most unsent bytes of an answer before its writer has to wait; without TLS it is the default.
_MOST_UNSENT_BYTES = 64 * 2**10


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
        self._write_timer: asyncio.TimerHandle | None = None
        self._hang_up = transport.abort
        self._client_connection = ClientConnection(set(), _send_nothing, self._hang_up)
        self._head_without_offer = b""
        self._body_bytes = 0
        self._lingering: LingeringClose | None = None
        self._begun: BegunAnswer | None = None
        if self.scheme == "https":
            # The default with TLS is 512 KiB.
            transport.set_write_buffer_limits(_MOST_UNSENT_BYTES)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.connections -= 1
        if self._lingering:
            self._lingering.end()
        if self._begun:
            self._begun.stop_asking()
        for timer in (self._head_timer, self._write_timer):
            if timer:
                timer.cancel()
        super().connection_lost(exc)
        self._client_connection.has_left = True
        # Breaks reference cycles between the last request and its connection.
        if self.cycle:
            self.cycle.transport = self.transport
        self._client_connection.send_whole = _send_nothing
        self._client_connection.hang_up = self._hang_up = do_nothing
        for leave in [*self._client_connection.on_loss]:
            leave()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's never keeps one
        """Keep a half-closed connection, by returning True, while its client may still wait for an answer.

        TLS can't be half closed here.
        """
        if self._lingering:
            self._lingering.end()
            return False
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body or self.scheme == "https":
            self._await_reading()
            return False
        cycle.keep_alive = False
        # Pipelined requests wait behind the first, whose answer shows whether the client is there.
        if not self.pipeline and not cycle.response_started:
            cycle.transport = self._begun = BegunAnswer(self.transport)
            self._begun.ask_whether_there(cycle)
        return True

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            self._lingering.discard(len(data))
            return
        self._bytes_beside_bodies += len(data)
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self._refuse("Invalid HTTP request received.")
            return
        if self._is_in_body and self.cycle.transport is self.transport:
            # The answer may come before the rest of the body.
            self.cycle.transport = LateClosing(self.transport, self._linger_after_answer)
        # A timer only for heads that come in parts: most come whole.
        if self._head_timer is None and (self._is_in_head or (self._bytes_beside_bodies and not self._is_in_body)):
            self._head_timer = self.loop.call_later(self.head_s, self._end_late_head)
        if self._bytes_beside_bodies > _MOST_BYTES and not self.transport.is_closing():
            self._refuse("The head of the request is too large.")

    def _refuse(self, message: str) -> None:
        """Answer what isn't HTTP, or too much of it, and close. A request under way is given up."""
        head = b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: %d\r\n" % len(message)
        date = b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
        self.transport.write(STATUS_LINE[400] + date + head + b"\r\n" + message.encode())
        if self.cycle is None or self.cycle.response_complete:
            self._linger(None)
        else:
            self._close()

    def _linger_after_answer(self) -> None:
        """Close the connection after the answer to a request that hasn't come whole."""
        self.cycle.body.clear()
        lengths = [int(value) for name, value in self.headers if name == b"content-length"]
        self._linger(lengths[0] - self._body_bytes if lengths else None)

    def _linger(self, rest_bytes: int | None) -> None:
        """Close the connection once its client has heard: it still sends `rest_bytes`; None when nobody knows."""
        if self._head_timer:
            self._head_timer.cancel()
        self.flow.resume_reading()
        self._lingering = self._clients.lingering.begin(self.transport, rest_bytes=rest_bytes, close=self._close)

    def _close(self) -> None:
        self.transport.close()
        self._await_reading()

    def _end_late_head(self) -> None:
        """Close the connection, after the answer to an earlier request if there is one."""
        if self.cycle is None or self.cycle.response_complete:
            self._close()
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
        if self._lingering:
            self._unset_keepalive_if_required()
        elif self.transport.is_closing():
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

        While the gateway drains, every answer closes its connection. A lingering close ends by itself.
        """
        if not self._is_in_head and not self._lingering:
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
            self._head_without_offer = written_without_offer(self.parser, self.url, self.headers)
            return
        self._is_in_head = False
        self._is_in_body = True
        self._bytes_beside_bodies = self._body_bytes = 0
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()
        self._client_connection = ClientConnection(self._client_connection.on_loss, self.send_whole, self._hang_up)
        self.scope["state"][CLIENT_CONNECTION] = self._client_connection

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._bytes_beside_bodies = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Mark the end of the request's body."""
        if self._head_without_offer:
            return
        self._is_in_body = False
        self._bytes_beside_bodies = 0
        super().on_message_complete()
        self.cycle.transport = self.transport
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


def _send_nothing(_: Response) -> bool:
    return False
