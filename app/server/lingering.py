"""The lingering close of a connection whose client has its answer while it still sends.

A system resets a connection that is closed while something on it is unread, and the reset makes the client's system
throw away the answer. So what still comes is read and discarded, within limits, before the connection is closed.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class LingeringCloses:
    """The lingering closes under way, and their limits: what strangers can pin with them.

    Args:
        most: At once; further connections are closed without.
        most_bytes: Read and discarded by each.
        most_s: Seconds that each may take.
        under_way: Now.
    """

    most: int = 64
    most_bytes: int = 96 * 2**20
    most_s: float = 10.0
    under_way: int = 0

    def begin(
        self, transport: asyncio.Transport, *, rest_bytes: int | None, close: Callable[[], None]
    ) -> "LingeringClose | None":
        """Begin one, now that the answer is written. Returns None, having called `close`, when there are too many.

        Args:
            transport: The connection. It is closed for writing, but over TLS, which can't be half closed.
            rest_bytes: Bytes of the request that are still to come, after which it ends; None when nobody knows.
            close: Closes the connection.
        """
        if self.under_way >= self.most:
            close()
            return None
        if transport.can_write_eof():
            transport.write_eof()
        most_bytes = self.most_bytes if rest_bytes is None else min(rest_bytes, self.most_bytes)
        return LingeringClose(self, most_bytes, close)


class LingeringClose:
    """One lingering close. It ends with the request or at one of the limits, whichever comes first."""

    def __init__(self, closes: LingeringCloses, most_bytes: int, close: Callable[[], None]) -> None:
        self._closes = closes
        self._left_bytes = most_bytes
        self._close: Callable[[], None] | None = close
        self._timer = asyncio.get_running_loop().call_later(closes.most_s, self.end)
        closes.under_way += 1

    def discard(self, size_bytes: int) -> None:
        """Count bytes that came and are discarded."""
        self._left_bytes -= size_bytes
        if self._left_bytes <= 0:
            self.end()

    def end(self) -> None:
        """Close the connection, if that hasn't been done: the client has sent all, has left, or had its time."""
        if self._close:
            # Kept no longer: the connection refers to this.
            close, self._close = self._close, None
            self._timer.cancel()
            self._closes.under_way -= 1
            close()


class LateClosing(asyncio.Transport):
    """Transport for the answer to a request that still comes: closing it begins a lingering close.

    Args:
        transport: The connection's own.
        linger: Called instead of its `close`.
    """

    def __init__(self, transport: asyncio.Transport, linger: Callable[[], None]) -> None:
        super().__init__()
        self._transport = transport
        self._linger = linger

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """As the transport."""
        self._transport.write(data)

    def is_closing(self) -> bool:
        """As the transport."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Begin the lingering close."""
        self._linger()
