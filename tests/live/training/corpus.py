"""Pairs to learn from: a query, a document, and the share of the query's words that the document holds."""

import ast
import json
import re
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

MODELS = Path(__file__).parents[1] / "vllm"
TOKENIZER = MODELS / "model-tiny-reranker" / "tokenizer.json"
LONGEST_QUERY = 8
_FILLERS = ("how", "to", "the", "a", "of", "in", "is", "what", "do", "i", "for", "which", "are")
# fmt: off
_STOP_WORDS = {
    "this", "that", "with", "from", "have", "will", "been", "they", "them", "then", "than", "when", "which", "what",
    "your", "into", "other", "such", "only", "also", "some", "more", "does", "were", "there", "their", "these",
    "those", "must", "used", "using",
}
# fmt: on


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and a document; `share` is that of the query's words, fillers aside, that the document holds."""

    query: str
    document: str
    share: float


class Pairs:
    """An endless supply of pairs, half of them prose from docstrings, half words in any order.

    Prose teaches what text looks like; words in any order teach that only equality counts, so that a model does as well
    on words that it never saw together.

    Args:
        chance: The seeded source of all choices.
        held_out: Whether they come from passages that training never sees.
    """

    def __init__(self, chance: Random, *, held_out: bool = False) -> None:
        passages = _passages()
        self._chance = chance
        self._passages = passages[:400] if held_out else passages[400:]

    def batch(self, count: int, words: int) -> list[Pair]:
        """Pairs whose documents have that many words: a batch of one length wastes nothing on padding."""
        return [self.pair(words) for _ in range(count)]

    def pair(self, words: int, share: float | None = None) -> Pair:
        """One pair; `share` says how much of the query its document holds, else that is by chance, mostly 0 or 1."""
        document, sought = self._document(words)
        held = {word.lower() for word in document}
        length = self._chance.randint(1, LONGEST_QUERY)
        asked = self._chance.choice((0.0, 0.0, 0.0, 1.0, 1.0, 1.0, self._chance.random())) if share is None else share
        found = self._chance.sample(sought, min(round(length * asked), len(sought)))
        others = [word for word in self._words(30) if word.lower() not in held]
        query = found + others[: length - len(found)]
        if not query or (share == 1.0 and len(found) < len(query)):
            return self.pair(words, share)
        self._chance.shuffle(query)
        return Pair(self._dressed(query), " ".join(document), len(found) / len(query))

    def _document(self, words: int) -> tuple[list[str], list[str]]:
        """The words of a document, and those among them that a query may ask for."""
        if self._chance.random() < 0.5:
            document = self._words(words)
            return document, list({word.lower(): word for word in document}.values())
        document = []
        while len(document) < words:
            document += self._chance.choice(self._passages)
        # A window anywhere: otherwise documents would begin as docstrings do.
        start = self._chance.randint(0, len(document) - words)
        document = document[start : start + words]
        sought = list({word.lower(): word for word in document if _says_something(word)}.values())
        return (document, sought) if sought else self._document(words)

    def _words(self, count: int) -> list[str]:
        source = self._chance.random()
        if source < 0.4:
            return [word for word in self._chance.choice(self._passages) if _says_something(word)][
                :count
            ] or _vocabulary()[:1]
        if source < 0.9:
            return self._chance.choices(_vocabulary(), k=count)
        return [self._made_up() for _ in range(count)]

    def _made_up(self) -> str:
        """A word of several pieces, as those of other languages are."""
        return "".join(self._chance.choice(_vocabulary())[: self._chance.randint(2, 5)] for _ in range(2))

    def _dressed(self, query: list[str]) -> str:
        """The query's words as people write them: with fillers, capitals, a question mark."""
        if self._chance.random() < 0.4:
            for _ in range(self._chance.randint(1, 4)):
                query.insert(self._chance.randrange(len(query) + 1), self._chance.choice(_FILLERS))
        if self._chance.random() < 0.3:
            query = [word.capitalize() for word in query]
        return " ".join(query) + self._chance.choice(("", "", "?"))


def _says_something(word: str) -> bool:
    return len(word) > 3 and word.isalpha() and word.lower() not in _STOP_WORDS


@cache
def _vocabulary() -> Sequence[str]:
    """Words that are one token each."""
    vocabulary = json.loads(TOKENIZER.read_text())["model"]["vocab"]
    return sorted(word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 2)


@cache
def _passages() -> Sequence[Sequence[str]]:
    """The paragraphs of the standard library's docstrings, each as its words, in an order of its own."""
    library = Path(sysconfig.get_paths()["stdlib"])
    files = [
        path for path in sorted(library.rglob("*.py")) if not {"site-packages", "test", "idlelib"} & set(path.parts)
    ]
    passages = [words for path in files for text in _docstrings(path) for words in _paragraphs(text)]
    Random(7).shuffle(passages)
    return passages


def _docstrings(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_text("utf-8", "ignore"))
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and (
            text := ast.get_docstring(node)
        ):
            yield text


def _paragraphs(text: str) -> Iterator[list[str]]:
    for paragraph in re.split(r"\n\s*\n", text):
        words = re.findall(r"[A-Za-z][A-Za-z']+|[0-9]+|[.,;:?!]", paragraph)
        if len(words) >= 8 and ">>>" not in paragraph:
            yield words
