"""How a simulated worker answers where it doesn't answer as vLLM: breaking off, dripping, lying."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Lie = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a route answers; as it is, it answers as vLLM does.

    Args:
        waits_s: Before anything else.
        hangs: It never answers.
        breaks: Where the connection ends: `call` before the first byte, `head` after the head, `body` in the middle of
            the body, `answer` behind a whole answer that promised to keep the connection.
        resets: It ends by a reset, not by being closed.
        status: Anything but 200 is an error of vLLM's shape.
        lie: Makes what is sent of the right answer, or changes it: JSON, or bytes as they are.
        headers: Lines beside the usual ones.
        chunk_bytes: The body is sent in chunks of so many bytes each.
        bytes_per_s: How fast the body drips.
        before, after: Stray bytes before the head and behind the body.
        keeps: Whether the connection serves another call; if not, the head says so.
        ends_reuse: A connection that has served a call is closed when the next one arrives.
    """

    waits_s: float = 0.0
    hangs: bool = False
    breaks: str = ""
    resets: bool = False
    status: int = 200
    lie: Lie | None = None
    headers: tuple[bytes, ...] = ()
    chunk_bytes: int | None = None
    bytes_per_s: float | None = None
    before: bytes = b""
    after: bytes = b""
    keeps: bool = True
    ends_reuse: bool = False


AS_VLLM = Manner()


def _rows(answer: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = answer.get("data") or answer["results"]
    return rows


def _in_first_row(field: str, value: Any) -> Lie:
    """Have the first row say something else; `score` is meant wherever it stands."""

    def lie(answer: Any) -> None:
        row = _rows(answer)[0]
        row["relevance_score" if field == "score" and "relevance_score" in row else field] = value

    return lie


def _without_last(answer: Any) -> None:
    _rows(answer).pop()


def _with_one_more(answer: Any) -> None:
    _rows(answer).append(dict(_rows(answer)[-1], index=len(_rows(answer))))


def _with_first_twice(answer: Any) -> None:
    _rows(answer)[-1] = dict(_rows(answer)[0])


def saying(**fields: Any) -> Lie:
    """A lie in which fields of the whole answer are others."""
    return lambda answer: answer | fields


# Answers to calls that score which no gateway may believe.
SCORE_LIES: Mapping[str, Lie] = {
    "one score too few": _without_last,
    "one score too many": _with_one_more,
    "one document twice": _with_first_twice,
    "NaN": _in_first_row("score", float("nan")),
    "infinity": _in_first_row("score", float("inf")),
    "beyond all floats": lambda answer: json.dumps(answer).replace('score": 0.', 'score": 1e999, "x": 0.').encode(),
    "score null": _in_first_row("score", None),
    "score true": _in_first_row("score", True),  # noqa: FBT003 - what it says
    "score as text": _in_first_row("score", "0.5"),
    "score a list": _in_first_row("score", [0.5]),
    "index null": _in_first_row("index", None),
    "index as text": _in_first_row("index", "0"),
    "index negative": _in_first_row("index", -1),
    "index out of range": _in_first_row("index", 10**6),
    "a row null": lambda answer: answer | {"data": [None], "results": [None]},
    "rows null": saying(data=None, results=None),
    "no rows": saying(data=[], results=[]),
    "rows an object": saying(data={"index": 0}, results={"index": 0}),
    "null": lambda _: b"null",
    "a list": lambda _: [],
    "a number": lambda _: b"5",
    "no JSON": lambda _: b"<html>Bad Gateway</html>",
    "half of it": lambda answer: json.dumps(answer).encode()[:-20],
    "nothing": lambda _: b"",
    "no UTF-8": lambda _: b'{"data": "\xff\xfe"}',
    "nested too deep": lambda _: b"[" * 100_000 + b"]" * 100_000,
}

# Fields that no gateway should trust, in answers that are right otherwise.
_USAGES: Sequence[Any] = (
    None,
    [],
    {"total_tokens": -5},
    {"total_tokens": 10**18},
    {"total_tokens": "many"},
    {"total_tokens": None},
)
USAGE_LIES: Mapping[str, Lie] = {f"usage {usage!r}": saying(usage=usage) for usage in _USAGES}

_MODEL_FIELDS: Mapping[str, Sequence[Any]] = {
    "id": (5, None, "", [], {}, True, "a\nb", "\ud800", "x" * 10**5),
    "root": (5, None, []),
    "max_model_len": (None, "many", 0, -1, 10**18, 0.5, [], True),
}
_VERSIONS: Sequence[Any] = (5, None, [], "", "x" * 10**5, "\ud800")
_COUNTS: Sequence[Any] = (None, "many", "5", -1, 10**18, 0.5, [], True, float("nan"))
_NO_ANSWERS: Mapping[str, Lie] = {
    "an empty object": lambda _: {},
    "null": lambda _: b"null",
    "a list": lambda _: [],
    "no JSON": lambda _: b"<html></html>",
}

MODELS_LIES: Mapping[str, Lie] = {
    **{
        f"{field} {str(value)[:20]!r}": _in_first_row(field, value)
        for field, values in _MODEL_FIELDS.items()
        for value in values
    },
    "no models": saying(data=[]),
    "models null": saying(data=None),
    "a model twice": lambda answer: answer["data"].append(dict(answer["data"][0], root="/models/other")),
    **_NO_ANSWERS,
}

VERSION_LIES: Mapping[str, Lie] = {
    **{f"version {str(value)[:20]!r}": saying(version=value) for value in _VERSIONS},
    **_NO_ANSWERS,
}

TOKENIZE_LIES: Mapping[str, Lie] = {
    **{f"count {value!r}": saying(count=value) for value in _COUNTS},
    "a count beyond all floats": lambda _: b'{"count": 1e999}',
    **_NO_ANSWERS,
}

# How any route may fail; what it means depends on the route.
MANNERS: Mapping[str, Manner] = {
    "hangs": Manner(hangs=True),
    "is late": Manner(waits_s=2.0),
    "closes before the head": Manner(breaks="call"),
    "resets before the head": Manner(breaks="call", resets=True),
    "closes after the head": Manner(breaks="head"),
    "resets after the head": Manner(breaks="head", resets=True),
    "closes in the body": Manner(breaks="body"),
    "resets in the body": Manner(breaks="body", resets=True),
    "breaks off between chunks": Manner(breaks="body", chunk_bytes=7),
    "closes what it promised to keep": Manner(breaks="answer"),
    "closes on reuse": Manner(ends_reuse=True),
    "resets on reuse": Manner(ends_reuse=True, resets=True),
    "keeps no connection": Manner(keeps=False),
    "drips": Manner(bytes_per_s=20.0),
    "drips chunks": Manner(bytes_per_s=20.0, chunk_bytes=2),
    "sends chunks of one byte": Manner(chunk_bytes=1),
    "sends many headers": Manner(headers=tuple(b"x-%d: y" % number for number in range(500))),
    "sends a long header": Manner(headers=(b"x: " + b"y" * 50_000,)),
    "sends a header twice": Manner(headers=(b"Content-Type: text/html", b"Vary: a", b"Vary: b")),
    "says 100 Continue unasked": Manner(before=b"HTTP/1.1 100 Continue\r\n\r\n"),
    "says 100 Continue often": Manner(before=b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
    "says 103 Early Hints": Manner(before=b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
    "speaks no HTTP": Manner(before=b"SSH-2.0-OpenSSH_9.6\r\n"),
    "says more than it announced": Manner(after=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    "sends rubbish behind it": Manner(after=b"\0\0\0"),
    **{
        f"answers {status}": Manner(status=status) for status in (302, 400, 401, 404, 405, 413, 429, 500, 502, 503, 504)
    },
    **{
        f"asks for a rest of {text!r}": Manner(status=503, headers=(b"Retry-After: " + text.encode("latin-1"),))
        for text in ("0", "1", "3600", "-1", "9" * 400, "1e9", "nan", "Wed, 21 Oct 2027 07:28:00 GMT", "\xb2", "")
    },
}
