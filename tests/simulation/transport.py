"""Connections in memory whose ends behave as asyncio's sockets do, down to resets, half-closing and back pressure."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.simulation.wire import End, Item, Way

_HIGH_WATER_BYTES = 64 * 2**10
_MOST_READ_BYTES = 256 * 2**10


class SimTransport(asyncio.Transport):
    """One end of a connection.

    What is written goes on its way as far as the window has room; the rest waits here, and past the high-water mark the
    protocol is paused. What arrives while reading is paused waits too, and takes room in the window.

    Args:
        name: For the trace.
        loop: Whose clock goes.
        protocol: Who is told of what arrives.
        peername, sockname: Addresses of the other end, and of this.
        quiet_fd: A file descriptor on which there is never anything to read.
    """

    def __init__(
        self,
        name: str,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.Protocol,
        *,
        peername: tuple[str, int],
        sockname: tuple[str, int],
        quiet_fd: int = -1,
    ) -> None:
        super().__init__({"peername": peername, "sockname": sockname, "socket": _Socket(self, quiet_fd)})
        self.name = name
        # Whether `connection_lost` was called, or is about to be.
        self.is_lost = False
        self._loop = loop
        self._protocol: asyncio.BaseProtocol = protocol
        self._way: Way
        self._on_lost: Callable[[], None]
        self._unsent: deque[memoryview] = deque()
        self._unsent_bytes = 0
        self._unread: deque[Item] = deque()
        self._is_closing = self._has_said_eof = self._is_reading_soon = False
        # Whether the other end's FIN is here, and whether it was read: nothing is read after it.
        self._has_fin = self._has_read_fin = False
        self._is_paused = self._is_protocol_paused = False
        self.set_write_buffer_limits()

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._is_closing

    @property
    def has_unread(self) -> bool:
        """Whether a read would return at once: with bytes, with their end, or with an error."""
        return bool(self._unread) or self._has_read_fin

    # Writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._has_said_eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._is_closing:
            return
        if End.RESET in self._unread:
            self._fail(self._reset_error())
            return
        self._unsent.append(memoryview(bytes(data)))
        self._unsent_bytes += len(data)
        self.send_on()
        self._heed_limits()

    def write_eof(self) -> None:
        if not self._has_said_eof and not self._is_closing:
            self._has_said_eof = True
            self.send_on()

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self._unsent_bytes

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high if high is not None else _HIGH_WATER_BYTES if low is None else 4 * low
        self._low = low if low is not None else self._high // 4
        self._heed_limits()

    def send_on(self) -> None:
        """Send as much as there is room for on the way."""
        while self._unsent and (room := self._way.room) > 0:
            part = self._unsent.popleft()
            if len(part) > room:
                self._unsent.appendleft(part[room:])
            sent = bytes(part[:room])
            self._unsent_bytes -= len(sent)
            self._way.carry_pieces(sent)
        self._heed_limits()
        if not self._unsent and not self.is_lost:
            if self._is_closing:
                self._hang_up(None)
            elif self._has_said_eof:
                self._way.carry_end(End.FIN)

    def _heed_limits(self) -> None:
        if self._unsent_bytes > self._high and not self._is_protocol_paused:
            self._is_protocol_paused = True
            self._protocol.pause_writing()
        elif self._unsent_bytes <= self._low and self._is_protocol_paused:
            self._is_protocol_paused = False
            self._protocol.resume_writing()

    # Reading

    def is_reading(self) -> bool:
        return not self._is_paused and not self._is_closing

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self._read_soon()

    def receive(self, item: Item) -> None:
        """Take what arrived."""
        if self.is_lost:
            # Nobody reads it any more, which the other end's kernel is told.
            if isinstance(item, bytes):
                self._way.carry_end(End.RESET)
            return
        self._unread.append(item)
        self._has_fin = self._has_fin or item is End.FIN
        if item is End.RESET and self._unsent:
            self._fail(self._reset_error())
        elif not self._is_paused and len(self._unread) == 1 and not self._is_reading_soon:
            self._read()
        else:
            self._read_soon()

    def _read_soon(self) -> None:
        if self._unread and self.is_reading() and not self._is_reading_soon and not self._has_read_fin:
            self._is_reading_soon = True
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        """Hand the protocol what one `recv` would return."""
        self._is_reading_soon = False
        if not self._unread or not self.is_reading() or self._has_read_fin:
            return
        item = self._unread.popleft()
        try:
            if isinstance(item, bytes):
                item = self._joined(item)
                self._way.back.was_read(len(item))
                self._protocol.data_received(item)  # type: ignore[attr-defined]  # a streaming protocol has it
            elif item is End.FIN:
                self._has_read_fin = True
                if not self._protocol.eof_received():  # type: ignore[attr-defined]  # as above
                    self.close()
            else:
                self._fail(self._reset_error())
        except Exception as exc:  # noqa: BLE001 - as asyncio's transports do
            context = {"message": "a protocol failed", "exception": exc, "transport": self, "protocol": self._protocol}
            self._loop.call_exception_handler(context)
            self._fail(exc)
        self._read_soon()

    def _joined(self, first: bytes) -> bytes:
        if not self._unread:
            return first
        parts, size = [first], len(first)
        while self._unread and isinstance(part := self._unread[0], bytes) and size + len(part) <= _MOST_READ_BYTES:
            self._unread.popleft()
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    # Ends

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self.send_on()

    def abort(self) -> None:
        if not self.is_lost:
            self._drop_unsent()
            self._hang_up(None)

    def reset(self) -> None:
        """End the connection so that the other end sees a reset: what closing does with SO_LINGER at zero."""
        if not self.is_lost:
            self._drop_unsent()
            self._way.carry_end(End.RESET)
            self._lose(None)

    def break_down(self) -> None:
        """See a reset that the other end didn't send: something between the two did."""
        self._way.lose_all()
        self._fail(ConnectionResetError(104, "Connection reset by peer"))

    def _hang_up(self, exc: Exception | None) -> None:
        # A kernel that throws unread bytes away says so by a reset.
        self._way.carry_end(End.RESET if any(isinstance(item, bytes) for item in self._unread) else End.FIN)
        self._lose(exc)

    def _fail(self, exc: Exception) -> None:
        if not self.is_lost:
            self._drop_unsent()
            if not isinstance(exc, OSError):
                self._way.carry_end(End.FIN)
            self._lose(exc)

    def _reset_error(self) -> OSError:
        # As Linux has it, where a reset finds a connection that the other end had closed already.
        return (
            BrokenPipeError(32, "Broken pipe")
            if self._has_fin
            else ConnectionResetError(104, "Connection reset by peer")
        )

    def _drop_unsent(self) -> None:
        self._unsent.clear()
        self._unsent_bytes = 0

    def _lose(self, exc: Exception | None) -> None:
        self._is_closing = self.is_lost = True
        self._unread.clear()
        self._loop.call_soon(self._say_lost, exc)

    def _say_lost(self, exc: Exception | None) -> None:
        self._on_lost()
        self._protocol.connection_lost(exc)

    def join(self, way: Way, on_lost: Callable[[], None]) -> None:
        """Say where bytes go from here, and who else wants to know of the end."""
        self._way, self._on_lost = way, on_lost

    def __repr__(self) -> str:
        state = "lost" if self.is_lost else "closing" if self._is_closing else "open"
        return f"<SimTransport {self.name} {state}, {self._unsent_bytes} bytes unsent, {len(self._unread)} unread>"


class _Socket:
    """As much of a socket as libraries ask a transport for."""

    family = socket.AF_INET
    type = socket.SOCK_STREAM

    def __init__(self, transport: SimTransport, quiet_fd: int) -> None:
        self._transport = transport
        self._quiet_fd = quiet_fd

    def getpeername(self) -> tuple[str, int]:
        """The address of the other end."""
        address: tuple[str, int] = self._transport.get_extra_info("peername")
        return address

    def getsockname(self) -> tuple[str, int]:
        """The address of this end."""
        address: tuple[str, int] = self._transport.get_extra_info("sockname")
        return address

    def setsockopt(self, *_: Any) -> None:
        """Nothing depends on it."""

    def fileno(self) -> int:
        """What httpx polls to see whether an idle connection ended; it takes -1 for one that did."""
        is_readable = self._transport.has_unread or self._transport.is_closing()
        return -1 if is_readable else self._quiet_fd
