"""The cache of this process: scores by digest, in bounded memory."""

from array import array
from collections import deque
from collections.abc import Sequence
from math import ceil

# Measured on CPython 3.11: 64 bytes for a digest, 32 for its place, 29 in the arrays and queues, and for the
# entry of the index 29 when the cache has just filled up and 58 once pairs have left it. See docs/decisions/0009.
BYTES_PER_PAIR = 170
# CPython gives a table that pairs have left room for three times as many as it has, rounded up to a power of two: with
# this many, and the few more that chance gives to some tables, that is nearly all used.
_PAIRS_PER_TABLE = 2560
# New pairs have a tenth of a full cache until they are asked for again.
_PROBATION_SHARE = 0.1
# A pause is worse than losing a pair that was asked for.
_MOST_SECOND_CHANCES = 64


class MemoryTier:
    """A segmented cache (SLRU: Karedla, Love and Wherry 1994) whose segments are queues with second chances.

    A new pair is on probation. One that was asked for again by the time its turn to leave comes is protected from then
    on, so pairs that are asked for once, however many, drive out only each other.

    Args:
        max_bytes: Memory for all of it; the real size differs by less than a fifth.
    """

    def __init__(self, max_bytes: int) -> None:
        self._most = max_bytes // BYTES_PER_PAIR
        self._most_on_probation = int(self._most * _PROBATION_SHARE)
        # Many small tables: one big one would stop everything while it grows. An odd number of them: else the digests
        # of a table would share bits of their hashes, and with them the places where it looks first.
        self._places: list[dict[bytes, int]] = [{} for _ in range(ceil(self._most / _PAIRS_PER_TABLE) | 1)]
        self._digests: list[bytes] = []
        self._scores = array("d")
        self._expiries = array("I")
        self._asked = bytearray()
        self._probation: deque[int] = deque()
        self._protected: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._digests)

    @property
    def size_bytes(self) -> int:
        """The memory it takes."""
        return len(self) * BYTES_PER_PAIR

    def lookup(self, digests: Sequence[bytes], now: float) -> list[float | None]:
        """The scores of some pairs; None for those that aren't known, or no longer.

        Args:
            digests: Of the pairs.
            now: In seconds since 1970, as for `store`.
        """
        places, scores, expiries, asked = self._places, self._scores, self._expiries, self._asked
        tables = len(places)
        found: list[float | None] = []
        for digest in digests:
            place = places[hash(digest) % tables].get(digest)
            if place is None or expiries[place] <= now:
                found.append(None)
            else:
                asked[place] = 1
                found.append(scores[place])
        return found

    def store(self, digests: Sequence[bytes], scores: Sequence[float], expiry: int) -> int:
        """Keep the scores of some pairs until `expiry`; how many others had to leave for them."""
        if not self._most:
            return 0
        before = len(self)
        added = 0
        places, all_scores, expiries, tables = self._places, self._scores, self._expiries, len(self._places)
        for digest, score in zip(digests, scores, strict=True):
            table = places[hash(digest) % tables]
            place = table.get(digest)
            if place is None:
                place = table[digest] = self._place(digest)
                added += 1
            all_scores[place] = score
            expiries[place] = expiry
        return added - (len(self) - before)

    def _place(self, digest: bytes) -> int:
        """A place for a new pair: an empty one, or that of the pair that has to leave."""
        if len(self._digests) < self._most:
            place = len(self._digests)
            self._digests.append(digest)
            self._scores.append(0)
            self._expiries.append(0)
            self._asked.append(0)
        else:
            place = self._leaving()
            left = self._digests[place]
            del self._places[hash(left) % len(self._places)][left]
            self._digests[place] = digest
        self._probation.append(place)
        return place

    def _leaving(self) -> int:
        for _ in range(_MOST_SECOND_CHANCES):
            place = self._next_queue().popleft()
            if not self._asked[place]:
                return place
            self._asked[place] = 0
            self._protected.append(place)
        place = self._next_queue().popleft()
        self._asked[place] = 0
        return place

    def _next_queue(self) -> "deque[int]":
        """Whose first one has to leave next."""
        on_probation = len(self._probation) > self._most_on_probation or not self._protected
        return self._probation if on_probation else self._protected
