"""The limit on bytes held for clients: request bodies, and long answers until they are read."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.errors import Overloaded


@dataclass(frozen=True, slots=True, eq=False)
class _Unread:
    """An answer that its client is still reading; `hang_up` closes its connection."""

    key: str
    size_bytes: int
    hang_up: Callable[[], None]


class BytesInFlight:
    """The count of bytes per API key, and the limit of each key.

    With several keys, one may hold as many bytes as are free. A single busy key so gets half of all, and n busy ones
    get 1/(n+1) each. There is always room for the next key, and their number needn't be known.
    Source: Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches" (1998).

    Args:
        max_bytes: Limit for all keys together.
        has_several_keys: Tells whether there are other keys to leave room for; a single one may hold everything.
    """

    def __init__(self, max_bytes: int, *, has_several_keys: Callable[[], bool]) -> None:
        self._max_bytes = max_bytes
        self._has_several_keys = has_several_keys
        self._by_key: defaultdict[str, int] = defaultdict(int)
        # In order of arrival.
        self._unread: dict[_Unread, None] = {}
        self.held = 0

    def take(self, key: str, more_bytes: int, *, own_bytes: int) -> None:
        """Count `more_bytes` of a body for which `own_bytes` are counted already.

        Raises:
            Overloaded: all keys together are at the limit, or this one is. A key's only body is under the first alone.
        """
        if not self._fits(key, more_bytes, own_bytes):
            message = (
                "The gateway holds as many bytes of requests and unread answers as it may "
                f"(RERANK_MAX_BYTES_IN_FLIGHT, {self._max_bytes}): try again."
            )
            raise Overloaded(message, reason="bytes", retry_after_s=1.0)
        self._count(key, more_bytes)

    def give_back(self, key: str, size_bytes: int) -> None:
        """Give back bytes that were taken."""
        self._count(key, -size_bytes)

    @contextmanager
    def unread(self, key: str, size_bytes: int, hang_up: Callable[[], None]) -> Iterator[None]:
        """Count a long answer while it is sent.

        An answer can't be refused any more. When it exceeds the key's limit, those of the key's connections are closed
        that have been reading for longest: their clients are the slowest.
        """
        while not self._fits(key, size_bytes) and (
            oldest := next((one for one in self._unread if one.key == key), None)
        ):
            self._forget(oldest)
            oldest.hang_up()
        unread = _Unread(key, size_bytes, hang_up)
        self._unread[unread] = None
        self._count(key, size_bytes)
        try:
            yield
        finally:
            self._forget(unread)

    def _fits(self, key: str, more_bytes: int, own_bytes: int = 0) -> bool:
        free = self._max_bytes - self.held - more_bytes
        held = self._by_key[key]
        return free >= 0 and (held == own_bytes or held + more_bytes <= free or not self._has_several_keys())

    def _forget(self, unread: _Unread) -> None:
        if unread in self._unread:
            del self._unread[unread]
            self._count(unread.key, -unread.size_bytes)

    def _count(self, key: str, more_bytes: int) -> None:
        self.held += more_bytes
        self._by_key[key] += more_bytes
