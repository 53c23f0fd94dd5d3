"""Passages: a document too long for the model is cut into parts that fit, and has the score of the best of them.

Tokens are estimated by UTF-8 bytes, and by how many of these a token takes, which the caller has measured or assumes.
The end of a passage is searched for only near where it has to be, so a passage costs the same whatever the length of
its document.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import NamedTuple

from app.errors import WorkerError
from app.types import Answer, ByPassage, Pairs, Passage, Side, text_of

# Behind full stops and question marks of all scripts; those of Chinese, Japanese, Hindi and others need no space after
# them. A closing quote or bracket belongs to its sentence. An empty line ends one too.
_SENTENCE_END = re.compile(
    r"[.!?…؟۔։።][\"'”’»)\]]{0,3}\s+|[。！？｡．।॥။។།][\"'”’」』）】》]{0,3}\s*|\n\s*\n\s*"  # noqa: RUF001 - they are meant
)
# Thai, Lao and Khmer have spaces between phrases, Chinese and Japanese commas.
_WORD_END = re.compile(r"\s+|[、，；：]")  # noqa: RUF001 - they are meant
# Characters around the wanted end within which a sentence's or a word's is searched for.
_NEAR_CHARS = 1000
# Parts of a character that stand behind each other at most; more are a decoration, and are cut.
_MOST_PARTS = 32
# Below this no passage says much; and a passage may not be so short that its overlap is all of it.
LEAST_TOKENS = 32
_JOINER = "\u200d"
# Two of these letters are a flag.
_FLAG_HALVES = "".join(map(chr, range(0x1F1E6, 0x1F200)))


class PassageLimits(NamedTuple):
    """How long passages may be, and how many of a document are scored.

    Args:
        tokens: Of a passage at most; `LEAST_TOKENS` or more.
        overlap_tokens: Of the passage before, that the next begins with; a quarter of `tokens` at most.
        passages: Of a document at most; what is beyond is dropped.
    """

    tokens: int
    overlap_tokens: int
    passages: int


class Cut(NamedTuple):
    """A document's passages, in order, and how many more its dropped end would have had by the same estimate."""

    passages: list[Passage]
    dropped: int = 0


def cut(text: str, limits: PassageLimits, *, bytes_per_token: float) -> Cut:
    """The passages of a document; one if all of it fits.

    They begin at a word's start and end at a sentence's end where there is one near, else at a word's, else between two
    characters. All are about equally long: a short rest at the end would be scored without its context.

    Args:
        text: The document.
        limits: What has to hold for its passages.
        bytes_per_token: UTF-8 bytes of the text that one token takes, on average; 1 or more.
    """
    room = int(limits.tokens * bytes_per_token)
    overlap = min(int(limits.overlap_tokens * bytes_per_token), room // 4)
    passages: list[Passage] = []
    start, left = 0, _size(text)
    while left > room and len(passages) < limits.passages:
        needed = ceil((left - overlap) / (room - overlap))
        is_enough = needed <= limits.passages - len(passages)
        end = _end(text, start, overlap + ceil((left - overlap) / needed) if is_enough else room, room, overlap)
        passages.append(Passage(start, end))
        following = _next_start(text, start, end, overlap)
        left -= _size(text[start:following])
        start = following
    if len(passages) < limits.passages:
        return Cut([*passages, Passage(start, len(text))])
    return Cut(passages, ceil(_size(text[passages[-1].end :]) / (room - overlap)))


def _end(text: str, start: int, share: int, room: int, overlap: int) -> int:
    """Where the passage from `start` ends: at the first good place from `share` bytes on, or the last one before.

    Args:
        text: The document.
        start: Of the passage, in characters.
        share: Bytes it should have.
        room: Bytes it can have.
        overlap: Bytes that the next passage goes back.
    """
    wanted = _reach(text, start, share)
    # What the passage has more than its overlap is at least half of what it should have: few are needed in any case.
    first = max(_reach(text, start, (share + overlap) // 2), wanted - _NEAR_CHARS)
    last = min(_reach(text, start, room), wanted + _NEAR_CHARS)
    for pattern in (_SENTENCE_END, _WORD_END):
        ends = [match.end() for match in pattern.finditer(text, first, last)]
        if ends:
            return next((end for end in ends if end >= wanted), ends[-1])
    place = wanted
    while place > first and wanted - place < _MOST_PARTS and _is_inside_character(text, place):
        place -= 1
    return place


def _next_start(text: str, start: int, end: int, overlap: int) -> int:
    """Where the passage begins that follows the one from `start` to `end`: `overlap` bytes before its end at most."""
    if not overlap:
        return end
    tail = text[max(start, end - overlap) : end]
    place = end - (len(tail) if tail.isascii() else len(tail.encode()[-overlap:].decode(errors="ignore")))
    word = _WORD_END.search(text, max(start, place - 1), end)
    if word and word.end() < end:
        return word.end()
    for _ in range(_MOST_PARTS):
        if place < end and _is_inside_character(text, place):
            place += 1
    return place


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _reach(text: str, start: int, size: int) -> int:
    """The place up to which the text from `start` has at most `size` bytes."""
    piece = text[start : start + size]
    return start + (len(piece) if piece.isascii() else len(piece.encode()[:size].decode(errors="ignore")))


def _is_inside_character(text: str, place: int) -> bool:
    """True if what readers see as one character goes on at `place`: an accent, a joined emoji, a flag's second half."""
    if not 0 < place < len(text):
        return False
    before, after = text[place - 1], text[place]
    if after.isascii():
        return False
    if after in _FLAG_HALVES:
        run = text[max(0, place - _NEAR_CHARS) : place]
        return (len(run) - len(run.rstrip(_FLAG_HALVES))) % 2 == 1
    is_skin_tone = "\U0001f3fb" <= after <= "\U0001f3ff"
    return _JOINER in {before, after} or is_skin_tone or unicodedata.category(after).startswith("M")


@dataclass(frozen=True, slots=True, kw_only=True)
class PassagePairs:
    """The pairs of a request whose long documents were cut.

    Args:
        pairs: One per passage, and one per document that fits.
        begins: Where each document's pairs begin among them; at the end, how many there are.
        passages: What each pair has of its document.
        cut: How many documents were.
        scored: Passages of those.
        dropped: Passages of their ends that aren't scored, as `Cut` estimates them.
    """

    pairs: Pairs
    begins: list[int]
    passages: list[Passage]
    cut: int
    scored: int
    dropped: int

    def by_document(self, answer: Answer) -> Answer:
        """The documents' scores: each has its best passage's, the first of equal ones.

        A document is refused as soon as one of its passages is: nobody knows what that one would have had.

        Args:
            answer: The scores of `pairs`.
        """
        best = [max(range(*ends), key=answer.scores.__getitem__) for ends in pairwise(self.begins)]
        refused: dict[int, WorkerError] = {}
        if answer.refused:
            for document, ends in enumerate(pairwise(self.begins)):
                place = next((place for place in range(*ends) if place in answer.refused), None)
                if place is not None:
                    best[document], refused[document] = place, answer.refused[place]
        report = ByPassage(
            best=[self.passages[place] for place in best],
            cut=self.cut,
            scored=self.scored,
            dropped=self.dropped,
        )
        return Answer([answer.scores[place] for place in best], answer.tokens, refused, report)


def with_passages(pairs: Pairs, cuts: Mapping[int, Cut]) -> PassagePairs:
    """The pairs with passages in the place of documents.

    Args:
        pairs: As the client sent them.
        cuts: Of the documents at these places, which don't fit.
    """
    places: list[int] = []
    documents: list[Side] = []
    begins, passages = [0], list[Passage]()
    for place, document in enumerate(pairs.documents):
        if place in cuts:
            own, text = cuts[place].passages, text_of(document)
            documents += [text[one.start : one.end] for one in own]
        else:
            own = [Passage(0, len(document))]
            documents.append(document)
        places += [place] * len(own)
        passages += own
        begins.append(len(places))
    queries = pairs.queries if len(pairs.queries) == 1 else [pairs.queries[place] for place in places]
    return PassagePairs(
        pairs=Pairs(queries, documents),
        begins=begins,
        passages=passages,
        cut=len(cuts),
        scored=sum(len(one.passages) for one in cuts.values()),
        dropped=sum(one.dropped for one in cuts.values()),
    )
