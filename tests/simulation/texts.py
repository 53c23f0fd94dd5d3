"""Queries, documents, and what a model gives for a pair: pure functions, so every answer can be checked exactly."""

from functools import lru_cache
from zlib import crc32

# No two of the first eight multiples come nearer to each other than a tenth, going round from 0 to 1.
_APART = 0.37
# A worker refuses a document with this word.
UNREADABLE = "unreadable"


def query_text(number: int, *, is_long: bool = False) -> str:
    """A query; a long one is so long that a worker has to count its tokens."""
    return f"what about q{number}" + " and so on" * (30 if is_long else 0)


def document_text(number: int, *, words: int, is_readable: bool = True) -> str:
    """A document of about so many words. Every fifth has nothing to do with any query."""
    topic = "elsewhere something" if number % 5 == 0 else "about something"
    return f"{topic} d{number}" + " w" * words + ("" if is_readable else f" {UNREADABLE}")


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
