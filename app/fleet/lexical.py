"""The embedded worker: a lexical score that needs no GPU and no model. It is no neural reranker.

How much of the query's terms a document holds, with BM25's saturation of term frequency and its length norm
(Robertson and Zaragoza 2009). What BM25 takes from the collection is replaced by constants, so that a document's score
depends on nothing but the pair: splitting a list can't change it.
"""

import asyncio
import re
from collections.abc import Iterator
from time import perf_counter

from app.fleet.link import Identity, ServedModel
from app.work import Answer, Chunk

LEXICAL_MODEL = "lexical"
# The event loop belongs to everybody: after this long, others get their turn.
_SLICE_S = 0.004
_TERMS_PER_CLOCK_READING = 256
_MAX_MODEL_LEN = 1_000_000

_SATURATION = 1.2
_LENGTH_NORM = 0.5
_USUAL_LENGTH = 200
_LONG_TERM_CHARS = 8

# Scripts written without spaces between words; their terms are pairs of neighbouring characters.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af\U00020000-\U0002fa1f"
_WORDS = re.compile(rf"[{_UNSPACED}]+|[^\W_{_UNSPACED}]+")
_IS_UNSPACED = re.compile(rf"[{_UNSPACED}]")


class LexicalLink:
    """The embedded worker behind the port all workers are reached through."""

    def __init__(self) -> None:
        self.name = "lexical"

    async def identify(self) -> Identity:
        return Identity("1", [ServedModel(LEXICAL_MODEL, "lexical://", _MAX_MODEL_LEN)])

    async def count_tokens(self, model: str, text: str) -> int:
        return len(text)

    async def score(self, chunk: Chunk) -> Answer:
        turn = _Turn()
        scores: list[float] = []
        tokens = 0
        query = _weights(chunk.pairs.queries[0])
        for index, document in enumerate(chunk.pairs.documents):
            if len(chunk.pairs.queries) > 1:
                query = _weights(chunk.pairs.queries[index])
            counts, length = await _count(document, query, turn)
            scores.append(_coverage(query, counts, length))
            tokens += length
        return Answer(scores, tokens)

    async def close(self) -> None:
        """It holds nothing."""


class _Turn:
    """The slice of time the scoring may use before others get theirs."""

    def __init__(self) -> None:
        self._ends = perf_counter() + _SLICE_S

    async def pause_when_over(self) -> None:
        if perf_counter() >= self._ends:
            await asyncio.sleep(0)
            self._ends = perf_counter() + _SLICE_S


async def _count(document: str, query: dict[str, float], turn: _Turn) -> tuple[dict[str, int], int]:
    """How often each query term stands in the document, and how many terms the document has."""
    counts = dict.fromkeys(query, 0)
    length = 0
    for term in _terms(document):
        length += 1
        if term in counts:
            counts[term] += 1
        if not length % _TERMS_PER_CLOCK_READING:
            await turn.pause_when_over()
    await turn.pause_when_over()
    return counts, length


def _coverage(query: dict[str, float], counts: dict[str, int], length: int) -> float:
    """The share of the query's weight that the document covers, in [0, 1)."""
    if not query:
        return 0.0
    half = _SATURATION * (1 - _LENGTH_NORM + _LENGTH_NORM * length / _USUAL_LENGTH)
    covered = sum(weight * counts[term] / (counts[term] + half) for term, weight in query.items())
    return covered / sum(query.values())


def _weights(query: str) -> dict[str, float]:
    """The query's terms by weight. Length stands in for rarity: short words are the frequent ones (Zipf 1935)."""
    return {term: min(len(term), _LONG_TERM_CHARS) ** 2 for term in _terms(query)}


def _terms(text: str) -> Iterator[str]:
    """Words in folded case; in scripts without spaces, pairs of neighbouring characters."""
    for match in _WORDS.finditer(text):
        word = match[0]
        if not _IS_UNSPACED.match(word) or len(word) == 1:
            yield word.casefold()
        else:
            for start in range(len(word) - 1):
                yield word[start : start + 2]
