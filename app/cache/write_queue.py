"""The write queue of the Redis tier: bounded, and taken in batches."""

import asyncio
from collections import deque
from collections.abc import Sequence

Entry = tuple[bytes, bytes]


class WriteQueue:
    """Keys and values that wait to be written.

    Args:
        most: Entries that may wait, at about 200 bytes each.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: deque[Entry] = deque()
        self._has_entries = asyncio.Event()
        self._is_done = asyncio.Event()
        self._is_done.set()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entries: Sequence[Entry]) -> None:
        """Add entries, or none of them when there is no room for all."""
        if not entries or len(self) + len(entries) > self._most:
            return
        self._entries.extend(entries)
        self._has_entries.set()
        self._is_done.clear()

    async def take(self, most: int) -> Sequence[Entry]:
        """Up to `most` entries, as soon as there are any."""
        await self._has_entries.wait()
        taken = [self._entries.popleft() for _ in range(min(most, len(self)))]
        if not self._entries:
            self._has_entries.clear()
        return taken

    def written(self) -> None:
        """Note that the entries last taken are written."""
        if not self._entries:
            self._is_done.set()

    def clear(self) -> None:
        """Forget all entries, those last taken included."""
        self._entries.clear()
        self._has_entries.clear()
        self._is_done.set()

    async def until_done(self) -> None:
        """Wait until no entry waits or is being written."""
        await self._is_done.wait()
