"""A vLLM server in a simulated network, byte for byte on its wire, whose routes fail each by itself in every way."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import orjson
from httptools import HttpParserError, HttpRequestParser

from tests.fake_vllm import Call, score_of
from tests.simulation.network import Host
from tests.simulation.transport import SimTransport

# As uvicorn under vLLM closes them.
_IDLE_CONNECTION_S = 5.0

# The scores of a call's documents. It takes the time that scoring takes, is cancelled when the client leaves, and may
# raise `Declined`.
Scorer = Callable[[Call], Awaitable[Sequence[float]]]
Lie = Callable[[Any], Any]


class Declined(Exception):
    """What a scorer raises to have the server answer with an error.

    Args:
        status: Of HTTP.
        message: In the error's body.
        retry_after: The text of that header; none without.
    """

    def __init__(self, status: int, message: str, *, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after


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


class WorkerServer:
    """One vLLM server.

    What it says of itself may change at any time. `manners` has how each path answers, or `*` all paths; a path that is
    not in it answers as vLLM.

    Args:
        host: Where it listens.
        scorer: Its model; without one every pair has the score that `tests.fake_vllm` gives it, at once.
        port: As the name says.
        model, root, version, max_model_len: What it says of itself; `model` may be anything, to see what comes of it.
        api_key: What calls below `/v1` must show.
        has_score_route: Whether it is new enough for `/v1/score`.
        idle_s: How long a connection is kept without a call.
    """

    def __init__(
        self,
        host: Host,
        *,
        scorer: Scorer | None = None,
        port: int = 8000,
        model: str = "m",
        root: str = "/models/m",
        version: str = "0.32.0",
        max_model_len: int = 512,
        api_key: str | None = None,
        has_score_route: bool = True,
        idle_s: float = _IDLE_CONNECTION_S,
    ) -> None:
        self.host = host
        self.scorer = scorer or _at_once
        self.model = model
        self.root = root
        self.version = version
        self.max_model_len = max_model_len
        self.api_key = api_key
        self.has_score_route = has_score_route
        self.idle_s = idle_s
        self.manners: dict[str, Manner] = {}
        self.calls: dict[str, int] = {}
        self.in_flight = 0
        self.abandoned = 0
        host.listen(port, lambda: _Served(self))

    def manner_of(self, path: str) -> Manner:
        """How a call to `path` is answered."""
        return self.manners.get(path) or self.manners.get("*") or AS_VLLM

    async def answer_to(self, call: Call) -> tuple[int, Any, str | None]:
        """Status, body and `Retry-After` of the right answer."""
        needs_key = self.api_key is not None and call.path.startswith("/v1")
        if needs_key and call.headers.get("authorization") != f"Bearer {self.api_key}":
            return 401, {"error": "Unauthorized"}, None
        if call.path == "/v1/rerank" or (call.path == "/v1/score" and self.has_score_route):
            return await self._score(call)
        rare = {"/version": self._version, "/v1/models": self._models, "/tokenize": self._tokens, "/health": _health}
        if call.path in rare:
            return 200, rare[call.path](call), None
        return 404, {"detail": "Not Found"}, None

    def _version(self, _: Call) -> Any:
        return {"version": self.version}

    def _models(self, _: Call) -> Any:
        model = {"id": self.model, "object": "model", "created": 1, "owned_by": "vllm", "root": self.root}
        return {"object": "list", "data": [model | {"parent": None, "max_model_len": self.max_model_len}]}

    def _tokens(self, call: Call) -> Any:
        count = len(call.body["prompt"].split())
        return {"count": count, "max_model_len": self.max_model_len, "tokens": [1] * count, "token_strs": None}

    async def _score(self, call: Call) -> tuple[int, Any, str | None]:
        if call.body["model"] != self.model:
            return 404, _error(404, f"The model `{call.body['model']}` does not exist."), None
        self.in_flight += 1
        try:
            scores = await self.scorer(call)
        except Declined as exc:
            return exc.status, _error(exc.status, str(exc)), exc.retry_after
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        finally:
            self.in_flight -= 1
        return 200, _scored(call, scores), None


class _Served(asyncio.Protocol):
    """One connection; its parser calls the methods that begin with `on_`."""

    def __init__(self, server: WorkerServer) -> None:
        self._server = server
        self._transport: SimTransport
        self._loop = asyncio.get_running_loop()
        self._parser = HttpRequestParser(self)
        self._begin()
        self._answered = 0
        self._task: asyncio.Task[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("SimTransport", transport)
        self._rest()

    def data_received(self, data: bytes) -> None:
        if self._expiry:
            self._expiry.cancel()
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._expiry:
            self._expiry.cancel()
        if self._task:
            self._task.cancel()

    def on_url(self, url: bytes) -> None:
        self._path += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        body = b"".join(self._parts)
        method = self._parser.get_method().decode()
        call = Call(method, self._path, self._headers, orjson.loads(body) if body else None)
        self._begin()
        self._server.calls[call.path] = self._server.calls.get(call.path, 0) + 1
        manner = self._server.manner_of(call.path)
        if manner.ends_reuse and self._answered:
            self._break(manner)
            return
        self._task = self._loop.create_task(self._answer(call, manner))

    def _begin(self) -> None:
        self._path, self._headers, self._parts = "", dict[str, str](), list[bytes]()

    async def _answer(self, call: Call, manner: Manner) -> None:
        if manner.waits_s:
            await asyncio.sleep(manner.waits_s)
        if manner.hangs:
            return
        if manner.breaks == "call":
            self._break(manner)
            return
        status, body, retry_after = (
            await self._server.answer_to(call)
            if manner.status == 200
            else (manner.status, _error(manner.status, "no"), None)
        )
        if manner.lie:
            changed = manner.lie(body)
            body = body if changed is None else changed
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        if retry_after is not None:
            manner = replace(manner, headers=(*manner.headers, b"Retry-After: " + retry_after.encode("latin-1")))
        await self._write(status, payload, manner)
        self._answered += 1
        self._rest()

    async def _write(self, status: int, payload: bytes, manner: Manner) -> None:
        write = self._transport.write
        write(manner.before + _head(status, payload, manner))
        if manner.breaks == "head":
            self._break(manner)
            return
        if manner.breaks == "body":
            payload = payload[: len(payload) // 2]
        for piece in _pieces(payload, manner):
            write(piece)
            if manner.bytes_per_s:
                await asyncio.sleep(len(piece) / manner.bytes_per_s)
        write(manner.after)
        if manner.breaks:
            self._break(manner)
        elif not manner.keeps:
            self._transport.close()

    def _break(self, manner: Manner) -> None:
        if manner.resets:
            self._transport.reset()
        else:
            self._transport.close()

    def _rest(self) -> None:
        self._expiry = self._loop.call_later(self._server.idle_s, self._transport.close)


def _health(_: Call) -> bytes:
    # Well even while its engine hangs, as vLLM.
    return b""


def _head(status: int, payload: bytes, manner: Manner) -> bytes:
    length = b"Content-Length: %d" % len(payload) if manner.chunk_bytes is None else b"Transfer-Encoding: chunked"
    lines = [b"HTTP/1.1 %d Status" % status, b"server: uvicorn", b"Content-Type: application/json", length]
    lines += [] if manner.keeps else [b"Connection: close"]
    return b"\r\n".join([*lines, *manner.headers, b"", b""])


def _pieces(payload: bytes, manner: Manner) -> Iterator[bytes]:
    """The body as it is written, piece by piece."""
    # What drips is written ten times a second.
    most = max(1, int(manner.bytes_per_s / 10)) if manner.bytes_per_s else len(payload)
    size = manner.chunk_bytes or most
    parts = (payload[start : start + size] for start in range(0, len(payload), size or 1))
    if manner.chunk_bytes is None:
        yield from parts
    else:
        chunks = (b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        yield from chunks if manner.bytes_per_s else [b"".join(chunks)]
        if manner.breaks != "body":
            yield b"0\r\n\r\n"


def _error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "Error", "param": None, "code": status}}


def _scored(call: Call, scores: Sequence[float]) -> dict[str, Any]:
    """vLLM's answer to a call that scores; of a rerank call the best comes first."""
    texts = zip(call.queries, call.documents, strict=True)
    tokens = sum(len(query.split()) + len(document.split()) for query, document in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    answer = {"id": "score-1", "model": call.body["model"], "usage": usage}
    if call.path == "/v1/score":
        rows = [{"index": index, "object": "score", "score": score} for index, score in enumerate(scores)]
        return answer | {"object": "list", "created": 1, "data": rows}
    results: list[dict[str, Any]] = [
        {"index": index, "document": {"text": document, "multi_modal": None}, "relevance_score": score}
        for index, (document, score) in enumerate(zip(call.documents, scores, strict=True))
    ]
    return answer | {"results": sorted(results, key=lambda row: -row["relevance_score"])}


async def _at_once(call: Call) -> Sequence[float]:
    return [score_of(query, document) for query, document in zip(call.queries, call.documents, strict=True)]


def one_gpu(*, fixed_s: float, per_document_s: float, scorer: Scorer = _at_once) -> Scorer:
    """A scorer that does one call after another and takes its time."""
    gpu = asyncio.Lock()

    async def score(call: Call) -> Sequence[float]:
        async with gpu:
            await asyncio.sleep(fixed_s + per_document_s * len(call.documents))
            return await scorer(call)

    return score


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
    "sends a huge header": Manner(headers=(b"x: " + b"y" * 100_000,)),
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
