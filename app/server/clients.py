"""What clients may do before there is a request: how many may be connected, and what one too many is told."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from app.errors import ConnectionShedReason

# Where the server finds this: in the state that the application gives it when it starts.
CLIENTS = "rerank.clients"

_FULL_BODY = (
    b'{"error":{"message":"The gateway has as many connections as it may: try again, or reuse connections.",'
    b'"type":"ServiceUnavailableError","param":null,"code":503}}'
)
_REST = b"Content-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n" + _REST % (len(_FULL_BODY), _FULL_BODY)
# Who asks whether the process is alive would restart it, and help nobody.
_ASKS_WHETHER_ALIVE = b"GET /livez "
_ALIVE_BODY = b'{"status":"ok"}'
_ALIVE = b"HTTP/1.1 200 OK\r\n" + _REST % (len(_ALIVE_BODY), _ALIVE_BODY)
# For a client that is one too many to send its request, and to read what it is told.
_TOLD_WITHIN_S = 2.0
_MOST_TOLD = 64


def _count_nothing(_: ConnectionShedReason) -> None: ...


@dataclass(slots=True)
class Clients:
    """The connections of clients.

    Args:
        max_connections: Those beyond are told to come back, and closed.
        write_timeout_s: Seconds in which a client has to take the next part of its answer.
        on_shed: Told why when a connection is closed that its client didn't want closed: it was one too many (`full`),
            or didn't read its answer (`unread`).
        connections: Open now.
        turned_away: Those beyond that are still being told; they are few, and then none is told.
    """

    max_connections: int = 10_000
    write_timeout_s: float = 30.0
    on_shed: Callable[[ConnectionShedReason], None] = _count_nothing
    connections: int = 0
    turned_away: int = 0

    def has_room(self, transport: asyncio.Transport) -> bool:
        """Whether one more may be connected; if not, its connection is taken care of."""
        if self.connections < self.max_connections:
            return True
        self.on_shed("full")
        if self.turned_away < min(_MOST_TOLD, 1 + self.max_connections // 16):
            transport.set_protocol(_TurnedAway(transport, self))
        else:
            transport.abort()
        return False


class _TurnedAway(asyncio.Protocol):
    """Answers the first request of a connection that is one too many with 503, or `/livez` truthfully, and closes it.

    An answer before the request would be a fault to many clients. What they still send is read and thrown away: if it
    weren't, their system would throw away the answer.
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
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._timer.cancel()
        self._clients.turned_away -= 1
