"""A vLLM server in a simulated network, byte for byte on its wire, whose routes fail each by itself in every way."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, cast

import orjson
from httptools import HttpParserError, HttpRequestParser

from tests.fake_vllm import Call, score_of
from tests.simulation.manners import AS_VLLM, Manner
from tests.simulation.network import Host
from tests.simulation.transport import SimTransport

# As uvicorn under vLLM closes them.
_IDLE_CONNECTION_S = 5.0

# The scores of a call's documents. It takes the time that scoring takes, is cancelled when the client leaves, and may
# raise `Misbehaves`.
Scorer = Callable[[Call], Awaitable[Sequence[float]]]


class Misbehaves(Exception):
    """What a scorer or a route raises to have one call answered in a manner of its own, from there on.

    Args:
        manner: How.
        body: What it lies about, or breaks off; not for a status other than 200, which has an error of vLLM's shape.
    """

    def __init__(self, manner: Manner, body: Any = None) -> None:
        super().__init__(manner)
        self.manner = manner
        self.body = body


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
        self.call_ids: list[str] = []
        self.in_flight = 0
        self.abandoned = 0
        host.listen(port, lambda: _Served(self))

    def manner_of(self, path: str) -> Manner:
        """How a call to `path` is answered."""
        return self.manners.get(path) or self.manners.get("*") or AS_VLLM

    def serves(self, model: Any) -> bool:
        """Whether it has a model of this name."""
        return bool(model == self.model)

    async def answer_to(self, call: Call) -> tuple[int, Any]:
        """Status and body of the right answer."""
        needs_key = self.api_key is not None and call.path.startswith("/v1")
        if needs_key and call.headers.get("authorization") != f"Bearer {self.api_key}":
            return 401, {"error": "Unauthorized"}
        if call.path == "/v1/rerank" or (call.path == "/v1/score" and self.has_score_route):
            return await self._score(call)
        rare = {"/version": self._version, "/v1/models": self._models, "/tokenize": self._tokens, "/health": _health}
        if call.path in rare:
            return 200, rare[call.path](call)
        return 404, {"detail": "Not Found"}

    def _version(self, _: Call) -> Any:
        return {"version": self.version}

    def _models(self, _: Call) -> Any:
        model = {"id": self.model, "object": "model", "created": 1, "owned_by": "vllm", "root": self.root}
        return {"object": "list", "data": [model | {"parent": None, "max_model_len": self.max_model_len}]}

    def _tokens(self, call: Call) -> Any:
        count = len(call.body["prompt"].split())
        return {"count": count, "max_model_len": self.max_model_len, "tokens": [1] * count, "token_strs": None}

    async def _score(self, call: Call) -> tuple[int, Any]:
        if not self.serves(call.body["model"]):
            return 404, _error(404, f"The model `{call.body['model']}` does not exist.")
        self.in_flight += 1
        try:
            scores = await self.scorer(call)
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        finally:
            self.in_flight -= 1
        return 200, scored(call, scores)


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
        if call_id := call.headers.get("x-request-id"):
            self._server.call_ids.append(call_id)
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
        status, body = manner.status, _error(manner.status, "no")
        if status == 200:
            try:
                status, body = await self._server.answer_to(call)
            except Misbehaves as exc:
                manner, status = exc.manner, exc.manner.status
                body = exc.body if status == 200 else _error(status, "no")
        if manner.lie:
            changed = manner.lie(body)
            body = body if changed is None else changed
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self._write(status, payload, manner)
        self._answered += 1
        self._rest()

    async def _write(self, status: int, payload: bytes, manner: Manner) -> None:
        if manner.breaks == "call":
            self._break(manner)
            return
        write = self._transport.write
        write(manner.before + _head(status, payload, manner))
        if manner.breaks == "head":
            self._break(manner)
            return
        if manner.breaks == "body":
            payload = payload[: len(payload) // 2]
        for piece in _pieces(payload, manner):
            if manner.bytes_per_s:
                await asyncio.sleep(len(piece) / manner.bytes_per_s)
            write(piece)
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


def scored(call: Call, scores: Sequence[float]) -> dict[str, Any]:
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
