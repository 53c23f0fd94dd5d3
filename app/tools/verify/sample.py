"""The sample: queries with their documents, built in or from a file."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from random import Random

import orjson
import yaml

from app.api.dialects.content import side_of, sides_of
from app.errors import BadInput
from app.types import Pairs

# One query with all of its documents per entry.
Sample = Sequence[Pairs]
_DOCUMENTS_PER_QUERY = 128
_ON_TOPIC = 4
_NEAR_TIE_EVERY = 8
_FORM = '{"query": "…", "documents": ["…", "…"]}'


class SampleError(Exception):
    """A file isn't a sample; the message has the line's number, and nothing of its text."""


def built_in() -> list[Pairs]:
    """The built-in sample, always the same: four queries with 128 documents of one to six sentences each."""
    topics = yaml.safe_load((files(__package__) / "sentences.yaml").read_text(encoding="utf-8"))
    sentences = [topic["sentences"] for topic in topics]
    return [
        Pairs([topic["query"]], _documents(sentences[place:] + sentences[:place])) for place, topic in enumerate(topics)
    ]


def read(path: Path) -> list[Pairs]:
    """The sample in a JSONL file: a query and its documents per line; empty lines are skipped.

    Raises:
        SampleError: the file can't be read, or a line has another form.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as exc:
        raise SampleError(f"{path}: {exc.strerror}") from exc
    sample = [_read_line(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1) if line.strip()]
    if not sample:
        raise SampleError(f"{path} is empty: write lines of the form {_FORM}")
    return sample


def _read_line(line: bytes, where: str) -> Pairs:
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        raise SampleError(f"{where}: is not JSON from character {exc.pos + 1} on: write {_FORM}") from None
    if not isinstance(entry, dict):
        raise SampleError(f"{where}: is no JSON object: write {_FORM}")
    query, documents = entry.get("query"), entry.get("documents")
    if not isinstance(documents, list) or not documents:
        raise SampleError(f"{where}: documents must be a list of one text or more: write {_FORM}")
    try:
        return Pairs([side_of(query, "query")], sides_of(documents, "documents"))
    except BadInput as exc:
        raise SampleError(f"{where}: {exc.message}") from None


def _documents(topics: Sequence[Sequence[str]]) -> list[str]:
    """Documents of zero to three sentences of the first topic and one to three of another.

    Every eighth nearly ties with the one before it: the same sentences, the last of them first.
    """
    own, *others = topics
    rng = Random(own[0])  # noqa: S311 - the same texts everywhere, no secrets
    documents: list[list[str]] = []
    for number in range(_DOCUMENTS_PER_QUERY):
        if number % _NEAR_TIE_EVERY == _NEAR_TIE_EVERY - 1:
            *rest, last = documents[-1]
            documents.append([last, *rest])
            continue
        fitting = _drawn(own, number % _ON_TOPIC, rng)
        foreign = _drawn(others[number % len(others)], 1 + number // _ON_TOPIC % 3, rng)
        documents.append([*fitting, *foreign] if number % 3 else [*foreign, *fitting])
    return [" ".join(sentences) for sentences in documents]


def _drawn(sentences: Sequence[str], count: int, rng: Random) -> list[str]:
    # random() is the one method whose sequence no release of Python changes.
    return sorted(sentences, key=lambda _: rng.random())[:count]
