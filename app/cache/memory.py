"""The cache of this process: scores by digest, in bounded memory."""

from array import array
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from math import ceil
from operator import itemgetter

from app.policy.digest import SHELF_BYTES

# Measured on CPython 3.11: 64 bytes for a digest, 32 for its place, 29 in the arrays and queues, and for the
# entry of the index 29 when the cache has just filled up and 58 once pairs have left it. See docs/decisions/0009.
BYTES_PER_PAIR = 170
# CPython gives a table that pairs have left room for three times as many as it has, rounded up to a power of two: with
# this many, and the few more that chance gives to some tables, that is nearly all used.
_PAIRS_PER_TABLE = 5120
# Only queries with very many documents fill one so far. Growing it stops everything for some milliseconds.
_MOST_PER_TABLE = 32 * _PAIRS_PER_TABLE
# New pairs have a tenth of a full cache until they are asked for again.
_PROBATION_SHARE = 0.1
# A pause is worse than losing a pair that was asked for.
_MOST_SECOND_CHANCES = 64

# Places by digest.
_Table = dict[bytes, int]
# Where pairs of the same queries stand: one table or, where there are very many, several, the last of which takes more.
_Shelf = list[_Table]
_name_of_shelf = itemgetter(slice(SHELF_BYTES))


class MemoryTier:
    """A segmented cache (SLRU: Karedla, Love and Wherry 1994) whose segments are queues with second chances.

    A new pair is on probation. One that was asked for again by the time its turn to leave comes is protected from then
    on, so pairs that are asked for once, however many, drive out only each other.

    The pairs of a query stand on one shelf, so that most requests look up and store all they have in one table.

    Args:
        max_bytes: Memory for all of it; the real size differs by less than a fifth.
    """

    def __init__(self, max_bytes: int) -> None:
        self._most = max_bytes // BYTES_PER_PAIR
        self._most_on_probation = int(self._most * _PROBATION_SHARE)
        self._shelves: list[_Shelf] = [[{}] for _ in range(ceil(self._most / _PAIRS_PER_TABLE) or 1)]
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
        places = self._places(self._common_shelf(digests), digests)
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
        """Keep the scores of some pairs, each given once, until `expiry`; how many others had to leave for them."""
        if not self._most:
            return 0
        shelf = self._common_shelf(digests)
        places = self._places(shelf, digests)
        if places.count(None) < len(places):
            digests, scores = self._renew(places, digests, scores, expiry)
        tables, room = self._open_tables(shelf, digests), self._most - len(self)
        self._append(tables[:room], digests[:room], scores[:room], expiry)
        self._replace(tables[room:], digests[room:], scores[room:], expiry)
        return max(0, len(digests) - room)

    def _common_shelf(self, digests: Sequence[bytes]) -> _Shelf | None:
        """The shelf of all these pairs; None when they are of several."""
        return self._shelf(digests[0]) if len({*map(_name_of_shelf, digests)}) == 1 else None

    def _shelf(self, digest: bytes) -> _Shelf:
        return self._shelves[hash(digest[:SHELF_BYTES]) % len(self._shelves)]

    def _places(self, common: _Shelf | None, digests: Sequence[bytes]) -> list[int | None]:
        """Where each pair is, if it is anywhere."""
        if common:
            return _places_on(common, digests)
        return [_places_on(self._shelf(digest), [digest])[0] for digest in digests]

    def _open_tables(self, common: _Shelf | None, digests: Sequence[bytes]) -> list[_Table]:
        """Where each new pair is to be."""
        if common:
            return [_open_table(common)] * len(digests)
        return [_open_table(self._shelf(digest)) for digest in digests]

    def _renew(
        self, places: Sequence[int | None], digests: Sequence[bytes], scores: Sequence[float], expiry: int
    ) -> tuple[list[bytes], list[float]]:
        """Keep the scores of pairs that have a place; those that have none are left."""
        new_digests, new_scores = [], []
        for place, digest, score in zip(places, digests, scores, strict=True):
            if place is None:
                new_digests.append(digest)
                new_scores.append(score)
            else:
                self._scores[place] = score
                self._expiries[place] = expiry
        return new_digests, new_scores

    def _append(self, tables: Sequence[_Table], digests: Sequence[bytes], scores: Sequence[float], expiry: int) -> None:
        """Give new pairs places that nobody had before."""
        # Numbers take memory, so tables and queue share them.
        places = [*range(len(self), len(self) + len(digests))]
        for table, digest, place in zip(tables, digests, places, strict=True):
            table[digest] = place
        self._probation.extend(places)
        self._digests.extend(digests)
        self._scores.extend(scores)
        self._expiries.extend(repeat(expiry, len(digests)))
        self._asked.extend(bytes(len(digests)))

    def _replace(
        self, tables: Sequence[_Table], digests: Sequence[bytes], scores: Sequence[float], expiry: int
    ) -> None:
        """Give new pairs the places of those that have to leave."""
        for table, digest, score in zip(tables, digests, scores, strict=True):
            place = self._leaving()
            _forget(self._shelf(self._digests[place]), self._digests[place])
            table[digest] = place
            self._digests[place] = digest
            self._scores[place] = score
            self._expiries[place] = expiry
            self._probation.append(place)

    def _leaving(self) -> int:
        """The place of the pair that has to leave next."""
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


def _places_on(shelf: _Shelf, digests: Sequence[bytes]) -> list[int | None]:
    places = [*map(shelf[-1].get, digests)]
    for table in shelf[:-1]:
        places = [table.get(digest) if place is None else place for digest, place in zip(digests, places, strict=True)]
    return places


def _forget(shelf: _Shelf, digest: bytes) -> None:
    """Take a pair off its shelf; with its last pair a table goes that takes no more."""
    for table in shelf:
        if table.pop(digest, None) is not None:
            if not table and table is not shelf[-1]:
                shelf.remove(table)
            return


def _open_table(shelf: _Shelf) -> _Table:
    """The table that takes what is new."""
    if len(shelf[-1]) >= _MOST_PER_TABLE:
        shelf.append({})
    return shelf[-1]
