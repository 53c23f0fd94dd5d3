"""The memory tier of the cache: scores by digest, in this process, in bounded memory."""

from array import array
from collections import deque
from collections.abc import Sequence
from itertools import repeat
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

    A new pair is on probation. One that was asked for again by the time its turn to be evicted comes is protected from
    then on, so pairs that are asked for once, however many, evict only each other.

    Args:
        max_bytes: Memory for the whole tier; its real size differs by less than a fifth.
    """

    def __init__(self, max_bytes: int) -> None:
        self._most = max_bytes // BYTES_PER_PAIR
        self._most_on_probation = int(self._most * _PROBATION_SHARE)
        # Many small tables: one big one would stop everything while it grows. An odd number of them: else the digests
        # of a table would share bits of their hashes, and with them the places where it looks first.
        self._tables: list[dict[bytes, int]] = [{} for _ in range(ceil(self._most / _PAIRS_PER_TABLE) | 1)]
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
        """The memory the tier takes, about."""
        return len(self) * BYTES_PER_PAIR

    def lookup(self, digests: Sequence[bytes], now: float) -> list[float | None]:
        """The score of each pair; None where it isn't known, or has expired.

        Args:
            digests: Of the pairs.
            now: In seconds since 1970, as for `store`.
        """
        places = self._places(digests)
        found: list[float | None] = [None] * len(places)
        if places.count(None) == len(places):
            return found
        scores, expiries, asked = self._scores, self._expiries, self._asked
        for index, place in enumerate(places):
            if place is not None and expiries[place] > now:
                asked[place] = 1
                found[index] = scores[place]
        return found

    def store(self, digests: Sequence[bytes], scores: Sequence[float], expiry: int) -> int:
        """Keep the scores of pairs, each given once, until `expiry`. Returns how many others were evicted for them."""
        if not self._most:
            return 0
        places = self._places(digests)
        if places.count(None) < len(places):
            self._renew(places, scores, expiry)
            scores = [score for place, score in zip(places, scores, strict=True) if place is None]
            digests = [digest for place, digest in zip(places, digests, strict=True) if place is None]
        room = self._most - len(self)
        self._append(digests[:room], scores[:room], expiry)
        self._replace(digests[room:], scores[room:], expiry)
        return max(0, len(digests) - room)

    def _places(self, digests: Sequence[bytes]) -> list[int | None]:
        """The place of each pair's score; None where it isn't known."""
        tables, count = self._tables, len(self._tables)
        return [tables[hash(digest) % count].get(digest) for digest in digests]

    def _renew(self, places: Sequence[int | None], scores: Sequence[float], expiry: int) -> None:
        """Put new scores in the places of the pairs' earlier ones, where there are any."""
        for place, score in zip(places, scores, strict=True):
            if place is not None:
                self._scores[place] = score
                self._expiries[place] = expiry

    def _append(self, digests: Sequence[bytes], scores: Sequence[float], expiry: int) -> None:
        """Give new pairs places that no pair had before."""
        tables, count = self._tables, len(self._tables)
        # Numbers take memory, so tables and queue share them.
        places = [*range(len(self), len(self) + len(digests))]
        for digest, place in zip(digests, places, strict=True):
            tables[hash(digest) % count][digest] = place
        self._probation.extend(places)
        self._digests.extend(digests)
        self._scores.extend(scores)
        self._expiries.extend(repeat(expiry, len(digests)))
        self._asked.extend(bytes(len(digests)))

    def _replace(self, digests: Sequence[bytes], scores: Sequence[float], expiry: int) -> None:
        """Give new pairs the places of evicted ones."""
        tables, count = self._tables, len(self._tables)
        for digest, score in zip(digests, scores, strict=True):
            place = self._next_to_evict()
            evicted = self._digests[place]
            del tables[hash(evicted) % count][evicted]
            tables[hash(digest) % count][digest] = place
            self._digests[place] = digest
            self._scores[place] = score
            self._expiries[place] = expiry
            self._probation.append(place)

    def _next_to_evict(self) -> int:
        """The place of the pair that is evicted next."""
        probation, protected, asked = self._probation, self._protected, self._asked
        chances = _MOST_SECOND_CHANCES
        while True:
            on_probation = len(probation) > self._most_on_probation or not protected
            place = (probation if on_probation else protected).popleft()
            was_asked, asked[place] = asked[place], 0
            if not was_asked or not chances:
                return place
            chances -= 1
            protected.append(place)
