"""The limit on client connections, and the answer to a connection beyond it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from app.errors import ConnectionShedReason
from app.server.lingering import LingeringCloses

# The key in the ASGI lifespan state under which the server finds `Clients`.
CLIENTS = "rerank.clients"

_FULL_BODY = (
    b'{"error":{"message":"The gateway has as many connections as it may: try again, or reuse connections.",'
    b'"type":"ServiceUnavailableError","param":null,"code":503}}'
)
_REST = b"Content-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n" + _REST % (len(_FULL_BODY), _FULL_BODY)
# A liveness probe that got 503 would have the process restarted, which helps nobody.
_ASKS_WHETHER_ALIVE = b"GET /livez "
_ALIVE_BODY = b'{"status":"ok"}'
_ALIVE = b"HTTP/1.1 200 OK\r\n" + _REST % (len(_ALIVE_BODY), _ALIVE_BODY)
# Time for a client beyond the limit to send its request and to read its answer.
_TOLD_WITHIN_S = 2.0
_MOST_TOLD = 64


def _count_nothing(_: ConnectionShedReason) -> None: ...


@dataclass(slots=True)
class Clients:
    """The count of client connections and its limit.

    Args:
        max_connections: Connections beyond it are answered with 503 and closed.
        write_timeout_s: Seconds in which a client has to take the next part of its answer.
        on_shed: Called with the reason when the gateway closes a connection: it was beyond the limit (`full`), or its
            client didn't read its answer (`unread`).
        connections: Open now.
        turned_away: Those beyond that are still being told; they are few, and then none is told.
        lingering: The closes of those that still send although they have their answer.
    """

    max_connections: int = 10_000
    write_timeout_s: float = 30.0
    on_shed: Callable[[ConnectionShedReason], None] = _count_nothing
    connections: int = 0
    turned_away: int = 0
    lingering: LingeringCloses = field(default_factory=LingeringCloses)

    def has_room(self, transport: asyncio.Transport) -> bool:
        """True if one more connection fits; otherwise it is answered with 503 and closed, here."""
        if self.connections < self.max_connections:
            return True
        self.on_shed("full")
        if self.turned_away < min(_MOST_TOLD, 1 + self.max_connections // 16):
            transport.set_protocol(_TurnedAway(transport, self))
        else:
            # The server's protocol must not see the end of a connection that it hasn't counted.
            transport.set_protocol(asyncio.Protocol())
            transport.abort()
        return False


class _TurnedAway(asyncio.Protocol):
    """Protocol of a connection beyond the limit: answers its first request with 503, or `/livez` as usual, and closes.

    Many clients take an answer before the request as an error. What they still send is read and discarded: otherwise
    their system would discard the answer.
    """

    def __init__(self, transport: asyncio.Transport, clients: Clients) -> None:
        self._transport = transport
        self._clients = clients
        self._is_told = False
        self._timer = asyncio.get_running_loop().call_later(_TOLD_WITHIN_S, transport.abort)
        clients.turned_away += 1

    def data_received(self, data: bytes) -> None:
        if self._is_told:
            return
        self._is_told = True
        self._transport.write(_ALIVE if data.startswith(_ASKS_WHETHER_ALIVE) else _FULL)
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._timer.cancel()
        self._clients.turned_away -= 1
