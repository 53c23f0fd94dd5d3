"""A thread that writes the lines of the log, so that logging neither waits nor fails."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from select import PIPE_BUF
from time import monotonic, sleep

# Most bytes that are queued while nobody reads; as many again are being written. Together some 6,000 request lines.
_MOST_CHARS = 2**20
# Lines of this time are written together: waking the thread for each costs more than writing it.
_GATHER_S = 0.01
# The pause before writing is tried again: a full disk may have room then.
_RETRY_S = 0.05


class LineWriter:
    """The writer of lines, in their order, to a file, a pipe or a terminal, with a queue for those not written yet.

    When the queue is full, new lines are discarded. The next line that is written says how many.

    Args:
        fd: The file descriptor to write to; to be changed only while the queue is empty.
        about_dropped: Makes the line that tells the number of discarded ones.
    """

    def __init__(self, fd: int, *, about_dropped: Callable[[int], str]) -> None:
        self.fd = fd
        self.dropped = 0
        self._about_dropped = about_dropped
        self._reported = 0
        # Reentrant, as the queue is: a finalizer may log in the middle of `write`.
        self._lock = threading.RLock()
        self._lines: list[str] = []
        self._chars = 0
        self._is_writing = False
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Queue a line, which ends with a line feed, for writing."""
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
        """Do nothing: logging through a file's methods must not wait."""

    def drain(self, *, within_s: float) -> None:
        """Wait until all lines are written, `within_s` seconds at most."""
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
        """The queued lines, and the line about those discarded after them."""
        with self._lock:
            self._is_writing = True
            lines, self._lines, self._chars = self._lines, [], 0
            dropped, self._reported = self.dropped - self._reported, self.dropped
        return [*lines, self._about_dropped(dropped)] if dropped else lines

    def _write(self, part: bytes) -> None:
        """Write a part whole, however long that takes: no line is left half written."""
        while part:
            try:
                part = part[os.write(self.fd, part) :]
            except OSError:
                sleep(_RETRY_S)


def _parts(lines: Iterable[str]) -> Iterator[bytes]:
    """The lines in parts that a pipe takes in one piece, so that other writers can't get in between."""
    part = b""
    for line in lines:
        encoded = line.encode(errors="backslashreplace")
        if part and len(part) + len(encoded) > PIPE_BUF:
            yield part
            part = b""
        part += encoded
    yield part
