"""The embedded worker: a lexical score that needs no GPU and no model. It is no neural reranker.

The score is the share of the query's terms that a document holds, with BM25's saturation of term frequency and its
length norm (Robertson and Zaragoza 2009). What BM25 takes from the collection is replaced by constants, so that a
document's score depends on nothing but the pair: splitting a list can't change it. Images count for nothing, so a
document that is only one has the lowest score.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from time import perf_counter
from typing import Any, NamedTuple

from app.types import Answer, Pairs, text_of
from app.workers.link import Identity, ServedModel

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
# A match takes along what stands before the word: a million spaces are one step, not a million failed ones.
_WORDS = re.compile(rf"[\W_]*(?:([{_UNSPACED}]+)|([^\W_{_UNSPACED}]+)|\Z)")
_UNSPACED_RUN, _WORD = 1, 2


class LexicalLink:
    """The link to the embedded worker, which runs in this process."""

    def __init__(self) -> None:
        self.name = "lexical"
        self._calls = 0

    async def identify(self) -> Identity:
        return Identity("1", [ServedModel(LEXICAL_MODEL, "lexical://", _MAX_MODEL_LEN)])

    async def count_tokens(self, model: str, text: str, *, request_id: str) -> int:
        return len(text)

    async def score(self, model: str, pairs: Pairs, fields: Mapping[str, Any], *, request_id: str) -> Answer:
        self._calls += 1
        try:
            return await self._score(pairs, _Turn(self))
        finally:
            self._calls -= 1

    async def close(self) -> None:
        """Do nothing: there is no connection."""

    @property
    def slice_s(self) -> float:
        """Seconds that one call may use the event loop: all calls in progress share one slice."""
        return _SLICE_S / self._calls

    async def _score(self, pairs: Pairs, turn: "_Turn") -> Answer:
        queries, documents = pairs.queries, pairs.documents
        scores: list[float] = []
        tokens = 0
        query = await _query_of(text_of(queries[0]), turn)
        for index, document in enumerate(documents):
            if index and len(queries) > 1:
                query = await _query_of(text_of(queries[index]), turn)
            counts, length = await _count(text_of(document), query, turn)
            scores.append(await _coverage(query, counts, length, turn))
            tokens += length
        return Answer(scores, tokens)


class _Turn:
    """The time slice one call may use before others get theirs."""

    def __init__(self, link: LexicalLink) -> None:
        self._link = link
        self._ends = perf_counter() + link.slice_s

    async def pause_when_over(self) -> None:
        if perf_counter() >= self._ends:
            await asyncio.sleep(0)
            self._ends = perf_counter() + self._link.slice_s


class _Query(NamedTuple):
    """The terms of a query with their weights, and the sum of these."""

    term_weights: dict[str, int]
    total: int


async def _query_of(text: str, turn: _Turn) -> _Query:
    """The query's terms with weights. Length stands in for rarity: short words are the frequent ones (Zipf 1935)."""
    term_weights: dict[str, int] = {}
    for terms in _batches(text):
        term_weights.update((term, min(len(term), _LONG_TERM_CHARS) ** 2) for term in terms)
        await turn.pause_when_over()
    return _Query(term_weights, sum(term_weights.values()))


async def _count(document: str, query: _Query, turn: _Turn) -> tuple[dict[str, int], int]:
    """The counts of the query's terms in the document, and the document's length in terms."""
    counts: dict[str, int] = {}
    length = 0
    for terms in _batches(document):
        length += len(terms)
        for term in terms:
            if term in query.term_weights:
                counts[term] = counts.get(term, 0) + 1
        await turn.pause_when_over()
    return counts, length


async def _coverage(query: _Query, counts: dict[str, int], length: int, turn: _Turn) -> float:
    """The share of the query's weight that the document covers, in [0, 1)."""
    half = _SATURATION * (1 - _LENGTH_NORM + _LENGTH_NORM * length / _USUAL_LENGTH)
    covered = 0.0
    for number, (term, count) in enumerate(counts.items(), start=1):
        covered += query.term_weights[term] * count / (count + half)
        if not number % _TERMS_PER_CLOCK_READING:
            await turn.pause_when_over()
    return covered / query.total if covered else 0.0


def _batches(text: str) -> Iterator[list[str]]:
    """The text's terms in order, a few hundred at a time."""
    terms = _terms(text)
    while batch := list(islice(terms, _TERMS_PER_CLOCK_READING)):
        yield batch


def _terms(text: str) -> Iterator[str]:
    """The text's words, case-folded; in scripts without spaces, pairs of neighbouring characters."""
    for match in _WORDS.finditer(text):
        if match.lastindex == _WORD:
            yield match[_WORD].casefold()
        elif match.lastindex == _UNSPACED_RUN:
            run = match[_UNSPACED_RUN]
            if len(run) == 1:
                yield run
            for start in range(len(run) - 1):
                yield run[start : start + 2]
