"""Lines of the log on their way out, by a thread of their own: whoever logs neither waits nor fails."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from select import PIPE_BUF
from time import monotonic, sleep

# What waits while nobody reads, and as much again is on its way: some 6,000 lines about requests together.
_MOST_CHARS = 2**20
# Lines that come close together go together: to wake the thread for each would cost more than to write it.
_GATHER_S = 0.01
# A disk may have room again.
_RETRY_S = 0.05


class LineWriter:
    """Writes lines in their order to a file, a pipe or a terminal, and holds those that can't be written yet.

    When it holds as many as it may, new ones are dropped. The first line that gets through after them says how many.

    Args:
        fd: Where lines go; to be changed only while nothing is held.
        about_dropped: Gives the line about so many dropped ones.
    """

    def __init__(self, fd: int, *, about_dropped: Callable[[int], str]) -> None:
        self.fd = fd
        self.dropped = 0
        self._about_dropped = about_dropped
        self._told = 0
        # Reentrant, and so is the queue: what the garbage collector finds may log, also in the middle of `write`.
        self._lock = threading.RLock()
        self._lines: list[str] = []
        self._chars = 0
        self._is_writing = False
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Have a line written, which ends with a line feed."""
        with self._lock:
            if self._chars >= _MOST_CHARS:
                self.dropped += 1
                return
            self._lines.append(line)
            self._chars += len(line)
            if len(self._lines) > 1:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
        self._wake.put(None)

    def flush(self) -> None:
        """Do nothing: who logs through a file's methods mustn't wait."""

    def drain(self, *, within_s: float) -> None:
        """Wait until all lines are written, but no longer than that."""
        ends = monotonic() + within_s
        while (self._lines or self._is_writing) and monotonic() < ends:
            sleep(0.001)

    def _run(self) -> None:
        while True:
            self._wake.get()
            sleep(_GATHER_S)
            for part in _parts(self._taken()):
                self._write(part)
            self._is_writing = False

    def _taken(self) -> list[str]:
        """The lines that are held, and how many were dropped after them."""
        with self._lock:
            self._is_writing = True
            lines, self._lines, self._chars = self._lines, [], 0
            dropped, self._told = self.dropped - self._told, self.dropped
        return [*lines, self._about_dropped(dropped)] if dropped else lines

    def _write(self, part: bytes) -> None:
        """Write all of it, however long that takes: a line that is half written isn't given up."""
        while part:
            try:
                part = part[os.write(self.fd, part) :]
            except OSError:
                sleep(_RETRY_S)


def _parts(lines: Iterable[str]) -> Iterator[bytes]:
    """The lines in parts that a pipe takes as one, so that nothing another process writes to it gets in between."""
    part = b""
    for line in lines:
        encoded = line.encode(errors="backslashreplace")
        if part and len(part) + len(encoded) > PIPE_BUF:
            yield part
            part = b""
        part += encoded
    yield part
