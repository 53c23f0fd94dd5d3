"""The way of bytes between the two ends of a connection in memory: how long each piece travels, and how it is cut."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from random import Random
from typing import Protocol

# A timer may fire this much too early, by the rounding of the clock that jumps.
_ROUNDING_S = 1e-9
# Cuts fall into the first bytes as often as anywhere else: heads are short, and break parsers.
_FIRST_BYTES = 64


class Conditions(Protocol):
    """How bytes travel; read anew for each piece."""

    latency_s: float
    jitter_s: float
    bytes_per_s: float | None
    window_bytes: int
    cuts: float
    frozen_until: float


class End(Enum):
    """What comes after the last byte."""

    FIN = "fin"
    RESET = "reset"


Item = bytes | End
Tell = Callable[[str, str], None]


class Ends(Protocol):
    """What a way needs of an end."""

    name: str

    def receive(self, item: Item) -> None:
        """Take what arrived."""

    def send_on(self) -> None:
        """Send as much as there is room for."""


class Way:
    """The way of bytes from one end to the other: in order, each piece when it arrives."""

    def __init__(
        self,
        sender: Ends,
        receiver: Ends,
        *,
        loop: asyncio.AbstractEventLoop,
        rng: Random,
        conditions: Conditions,
        tell: Tell | None,
    ) -> None:
        self.back: Way
        self._sender = sender
        self._receiver = receiver
        self._loop = loop
        self._rng = rng
        self._conditions = conditions
        self._tell = tell
        self._travelling: deque[tuple[float, Item]] = deque()
        self._bytes = 0
        self._last_arrival = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False

    @property
    def room(self) -> int:
        """Bytes that may still set out: the window less those that travel or weren't read."""
        return self._conditions.window_bytes - self._bytes

    def carry_pieces(self, data: bytes) -> None:
        """Carry bytes, cut at random places."""
        for piece in self._cut(data):
            self._carry(piece)

    def carry_end(self, end: End) -> None:
        """Carry the end; a reset may follow a FIN."""
        if not self._is_over or end is End.RESET:
            self._is_over = True
            self._carry(end)

    def was_read(self, size_bytes: int) -> None:
        """Make room for others."""
        self._bytes -= size_bytes
        self._sender.send_on()

    def lose_all(self) -> None:
        """Forget what travels."""
        self._travelling.clear()

    def thaw(self) -> None:
        """Look again: it may no longer be frozen."""
        if self._timer is None and self._travelling:
            self._timer = self._loop.call_at(self._travelling[0][0], self._arrive)

    def _carry(self, item: Item) -> None:
        conditions, size = self._conditions, len(item) if isinstance(item, bytes) else 0
        arrives = self._loop.time() + conditions.latency_s
        if conditions.jitter_s:
            arrives += self._rng.uniform(0, conditions.jitter_s)
        arrives = max(arrives, self._last_arrival)
        if conditions.bytes_per_s:
            arrives += size / conditions.bytes_per_s
        self._last_arrival = arrives
        self._travelling.append((arrives, item))
        self._bytes += size
        self.thaw()

    def _cut(self, data: bytes) -> Iterator[bytes]:
        rng, cuts, rate = self._rng, self._conditions.cuts, self._conditions.bytes_per_s
        # What drips arrives in pieces as large as come within a tenth of a second.
        most = max(1, int(rate / 10)) if rate else len(data)
        for start in range(0, len(data), most):
            rest = data[start : start + most]
            while cuts and len(rest) > 1 and rng.random() < cuts:
                place = rng.randrange(1, len(rest) if rng.random() < 0.5 else min(len(rest), _FIRST_BYTES))
                yield rest[:place]
                rest = rest[place:]
            yield rest

    def _arrive(self) -> None:
        self._timer = None
        frozen_until = self._conditions.frozen_until
        if frozen_until > self._loop.time() + _ROUNDING_S:
            if frozen_until < float("inf"):
                self._timer = self._loop.call_at(frozen_until, self._arrive)
            return
        if not self._travelling:
            return
        _, item = self._travelling.popleft()
        self.thaw()
        if self._tell:
            self._tell(self._sender.name, f"{len(item)} bytes" if isinstance(item, bytes) else item.value)
        self._receiver.receive(item)
