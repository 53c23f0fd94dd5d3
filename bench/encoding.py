"""What JSON costs for a request of 1000 documents; the numbers of decision 0003.

Three ways through the gateway: a client's body is decoded, calls to workers are encoded, an answer is encoded.

    .venv/bin/python bench/encoding.py
"""

import json
import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
from pydantic_core import from_json, to_json

DOCUMENTS = 1000
DOCUMENT_CHARS = 700
REPEATS = 5
ROUNDS = 15


def _documents(letters: str, others: str = "", share: float = 0.0) -> list[str]:
    """Random texts; `share` of their characters are `others`, spread evenly."""
    rng = random.Random(1)
    alphabets = [letters, others] if others else [letters]
    weights = [1 - share, share][: len(alphabets)]
    picks = ["".join(rng.choice(one) for one in rng.choices(alphabets, weights, k=DOCUMENT_CHARS)) for _ in range(50)]
    # Distinct by their first characters; drawing each anew would take longer than the measurement.
    return [f"{number:05}{picks[number % len(picks)]}"[:DOCUMENT_CHARS] for number in range(DOCUMENTS)]


_LATIN = "abcdefghijklmnopqrstuvwxyz      ,."
_CHINESE = "\u9996\u90fd\u6cd5\u56fd\u7684\u5df4\u9ece\u662f\u57ce\u5e02\uff0c\u3002"
TEXTS = {
    "English": _documents(_LATIN),
    "English, 1 % quotes and line breaks": _documents(_LATIN, '"\n', 0.01),
    "English, 1 % other than ASCII": _documents(_LATIN, "\u00e9\u2019\u2013", 0.01),
    "HTML, 10 % <, > and &": _documents(_LATIN, "<>&", 0.1),
    "Chinese": _documents(_CHINESE),
}
SCORES = [random.Random(2).random() for _ in range(DOCUMENTS)]


def _go(value: object) -> bytes:
    """JSON as Go writes it, and so Milvus: <, > and & are escaped."""
    plain = json.dumps(value, ensure_ascii=False)
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode()


def _ms(work: Callable[[], object]) -> float:
    """CPU time of one piece of work."""
    started = time.process_time()
    for _ in range(REPEATS):
        work()
    return (time.process_time() - started) * 1000 / REPEATS


def _row(what: str, size_bytes: int, ways: dict[str, Callable[[], object]]) -> None:
    rounds = [{name: _ms(way) for name, way in ways.items()} for _ in range(ROUNDS)]
    cells = [f"{statistics.median(one[name] for one in rounds):.2f}" for name in ways]
    print(f"| {what} | {size_bytes / 1000:.0f} | {' | '.join(cells)} |")


def _decoding() -> None:
    print("\n| decoding a request | kB | json | orjson | from_json |\n|---|---|---|---|---|")
    for name, documents in TEXTS.items():
        body = _go({"query": "which one is it?", "documents": documents})
        ways: dict[str, Callable[[], object]] = {
            "json": partial(json.loads, body),
            "orjson": partial(orjson.loads, body),
            "from_json": partial(from_json, body, allow_inf_nan=False, cache_strings="keys"),
        }
        _row(name, len(body), ways)


def _encoding() -> None:
    print("\n| encoding | kB | json | orjson | to_json |\n|---|---|---|---|---|")
    for name, documents in TEXTS.items():
        call = {"model": "m", "text_1": "which one is it?", "text_2": documents}
        _encoding_row(f"calls, {name}", call)
    scores = [{"index": index, "relevance_score": score} for index, score in enumerate(SCORES)]
    answer: dict[str, Any] = {"id": "rerank-1", "model": "m", "usage": {"total_tokens": 1}, "results": scores}
    _encoding_row("an answer of scores", answer)
    echoed = [row | {"document": {"text": text}} for row, text in zip(scores, TEXTS["English"], strict=True)]
    _encoding_row("an answer with documents", answer | {"results": echoed})


def _encoding_row(what: str, value: object) -> None:
    ways: dict[str, Callable[[], object]] = {
        "json": lambda: json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(),
        "orjson": lambda: orjson.dumps(value),
        "to_json": lambda: to_json(value),
    }
    _row(what, len(orjson.dumps(value)), ways)


def main() -> None:
    """Print two tables."""
    print(f"ms of CPU for {DOCUMENTS} documents of {DOCUMENT_CHARS} characters; median of {ROUNDS}")
    _decoding()
    _encoding()


if __name__ == "__main__":
    main()
