"""Clients that send nothing more: whether they wait for their answer, or are gone (decision 0015)."""

import asyncio
import socket

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

# The beginning of every answer, whatever its status.
_FIRST_BYTES = b"HTTP/1.1 "
# Seconds until the second byte is sent to a client that may be gone. Each pause is twice the one before, so the first
# bytes of an answer last for 25 s.
_FIRST_PAUSE_S = 0.05


class BegunAnswer(asyncio.Transport):
    """Transport that sends the first bytes of an answer one by one, before the answer exists.

    A client that is gone resets the connection when it is sent something; one that waits doesn't.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._sent = 0
        self._timer: asyncio.TimerHandle | None = None

    def ask_whether_there(self, cycle: RequestResponseCycle, pause_s: float = _FIRST_PAUSE_S) -> None:
        """Send a byte, and later look for a reset: event loops don't report one after the end of input."""
        if self._transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._transport.abort()
        elif not cycle.response_started:
            self._transport.write(_FIRST_BYTES[self._sent : self._sent + 1])
            self._sent = min(self._sent + 1, len(_FIRST_BYTES))
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(pause_s, self.ask_whether_there, cycle, 2 * pause_s)

    def stop_asking(self) -> None:
        """Stop: the connection is lost."""
        if self._timer:
            self._timer.cancel()

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
