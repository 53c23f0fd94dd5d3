"""Queries, documents, and what a model gives for a pair: pure functions, so every answer can be checked exactly."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from zlib import crc32

from app.policy.passages import LEAST_TOKENS, PassageLimits, cut
from app.policy.token_estimate import SPECIAL_TOKENS, likely_tokens, most_tokens

# No two of the first eight multiples come nearer to each other than a tenth, going round from 0 to 1.
_APART = 0.37
# What is read of a document that is scored by passage, together with its query.
READ_TOKENS = 64
_OVERLAP_TOKENS = 32
# A worker refuses a document with this word.
UNREADABLE = "unreadable"


def query_text(number: int, *, is_long: bool = False) -> str:
    """A query; a long one is so long that a worker has to count its tokens."""
    return f"what about q{number}" + " and so on" * (30 if is_long else 0)


def document_text(number: int, *, words: int, is_readable: bool = True) -> str:
    """A document of about so many words. Every fifth has nothing to do with any query; none has a part of another."""
    topic = "elsewhere something" if number % 5 == 0 else "about something"
    parts = "".join(f" {topic} d{number}-{part}" + " w" * 5 for part in range(words // 8))
    return f"{topic} d{number}{parts}" + " w" * (words % 8) + ("" if is_readable else f" {UNREADABLE}")


@lru_cache(maxsize=2000)
def cuts(query: str, document: str) -> list[list[str]]:
    """The passages a document may be cut into: by the tokens of both texts as workers count them, or by estimates."""
    found = []
    ways = product((len(query.split()), most_tokens(query)), (len(document.split()), likely_tokens([document])[0]))
    for query_tokens, tokens in ways:
        room = READ_TOKENS - SPECIAL_TOKENS - query_tokens
        if room < LEAST_TOKENS:
            found.append([document])
            continue
        made = cut(document, PassageLimits(room, _OVERLAP_TOKENS, 10), bytes_per_token=len(document) / tokens)
        found.append([document[one.start : one.end] for one in made.passages])
    return found


def best_score(weights: int, query: str, passages: Sequence[str]) -> float:
    """What a document has that is scored by these passages."""
    return max(score(weights, query, passage) for passage in passages)


def score(weights: int, query: str, document: str) -> float:
    """What a model with these weights gives for a pair: 0 for what shares no word, as cross-encoders do.

    Any two weights differ by a tenth and more wherever they give a score at all.
    """
    base = _base(query, document)
    return 0.0 if base is None else (base + _APART * weights) % 1.0


@lru_cache(maxsize=20_000)
def _base(query: str, document: str) -> float | None:
    if set(query.lower().split()).isdisjoint(document.lower().split()):
        return None
    return crc32(f"{query}\0{document}".encode()) / 2**32


def tokens(query: str, document: str) -> int:
    """About how much work a pair is."""
    return (len(query) + len(document)) // 4
