"""What clients ask for: texts of one length, queries some of which come often, and searches cut as Milvus cuts them."""

import math
from collections.abc import Iterator, Sequence
from itertools import count, islice
from random import Random

from bench.gateways import Subject

_LETTERS = "etaoinshrdlu"
_WORD_CHARS = (2, 3, 3, 4, 4, 5, 6, 8)
_QUERIES = count(10**9)


def texts(number: int, chars: int) -> list[str]:
    """Distinct texts of exactly `chars` characters, the same ones each time."""
    rng = Random(1)
    words = " ".join("".join(rng.choices(_LETTERS, k=rng.choice(_WORD_CHARS))) for _ in range(chars + number))
    return [f"{one:05} {words[one:]}"[:chars] for one in range(number)]


def never_seen(subject: Subject, documents: Sequence[str]) -> Iterator[bytes]:
    """Requests for ever, each with a query that no other of this process has: no cache knows any of their pairs."""
    for number in _QUERIES:
        yield subject.request(f"which one is number {number}?", documents)


def shuffled(subject: Subject, documents: Sequence[str], rng: Random) -> Iterator[bytes]:
    """One query for ever, its documents in another order each time; a hundred orders in turn."""
    requests = [subject.request("which one is it?", rng.sample(documents, len(documents))) for _ in range(100)]
    while True:
        yield from requests


def zipf(rng: Random, things: int, length: int) -> list[int]:
    """A sequence of `length` numbers below `things`, where n comes 1 / (n + 1) times as often as 0 (Zipf's law)."""
    return rng.choices(range(things), [1 / (rank + 1) for rank in range(things)], k=length)


def batches(found: Sequence[int], rng: Random, size: int) -> Iterator[list[int]]:
    """What one search has found, in random order and cut into calls of `size` documents, as Milvus does it."""
    order = iter(rng.sample(found, len(found)))
    while batch := list(islice(order, size)):
        yield batch


def log_uniform(rng: Random, most: int) -> int:
    """A number from 1 to `most`, as often below its root as above."""
    return round(math.pow(most, rng.random()))
