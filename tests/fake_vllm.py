"""A worker made of raw sockets that answers as vLLM 0.32.0 does, and fails in every way a test asks for."""

import asyncio
import hashlib
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableSequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from app.policy.check_pairs import ENGLISH, MORE_ENGLISH, OTHER_LANGUAGES
from app.workers.fingerprinter import PROBE_PREFIX
from app.workers.model_check import CHECK_PREFIX
from tests.listening import listening

# What a fault does with a call instead of answering it: it gets the connection and the request.
Fault = Callable[["Call", asyncio.StreamWriter], Awaitable[None]]


_CHECKED = {pair.query for pair in (*ENGLISH, *MORE_ENGLISH, *OTHER_LANGUAGES.values())}


def score_of(query: Any, document: Any) -> float:
    """A score in [0, 1) that depends on nothing but the pair; by words in common where a check goes by the order.

    Content is what it is on the wire.
    """
    if isinstance(query, str) and query in _CHECKED:
        return 0.01 + 0.9 * len({*query.split()} & {*document.split()}) / len({*query.split()})
    digest = hashlib.blake2b(f"{len(query)}:{query}{document}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


@dataclass
class Call:
    method: str
    path: str
    headers: dict[str, str]
    body: Any

    @property
    def is_probe(self) -> bool:
        """Whether the gateway asks on its own account."""
        return self.headers.get("x-request-id", "").startswith((PROBE_PREFIX, CHECK_PREFIX))

    @property
    def documents(self) -> list[Any]:
        texts = self.body.get("text_2", self.body.get("documents", []))
        return [texts] if isinstance(texts, str) else texts

    @property
    def queries(self) -> list[Any]:
        given = self.body.get("text_1", self.body.get("query"))
        each = given if isinstance(given, list) else [given]
        return each * len(self.documents) if len(each) == 1 else each


@dataclass
class FakeVllm:
    """One worker.

    `faults` are used up one per scoring call, before it answers normally again; `always` stays. `reverses` turns the
    order of what the gateway asks on its own account around. Scoring takes `fixed_s` and `per_document_s`, times
    `slowness`, one call after another, as on one GPU.
    """

    model: str = "tiny-reranker"
    root: str = "/models/tiny-reranker"
    version: str = "0.32.0"
    max_model_len: int = 512
    api_key: str | None = None
    has_score_route: bool = True
    multimodal: bool = False
    delay_s: float = 0.0
    fixed_s: float = 0.0
    per_document_s: float = 0.0
    slowness: float = 1.0
    faults: deque[Fault] = field(default_factory=deque)
    always: Fault | None = None
    fails_probes: bool = False
    reverses: bool = False
    calls: MutableSequence[Call] = field(default_factory=list)
    connections: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    abandoned: int = 0
    url: str = ""
    _engine: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def scored(self) -> list[Call]:
        return [call for call in self.calls if call.path in {"/v1/score", "/v1/rerank"} and not call.is_probe]

    @asynccontextmanager
    async def running(
        self, port: int = 0, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> AsyncIterator["FakeVllm"]:
        async with listening(self._serve, host=host, port=port, tls=tls) as bound:
            self.url = f"{'https' if tls else 'http'}://{host}:{bound}"
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while call := await _read_call(reader):
                self.calls.append(call)
                await self._answer(call, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (
            self.api_key
            and call.path.startswith("/v1")
            and call.headers.get("authorization") != f"Bearer {self.api_key}"
        ):
            reply(writer, 401, {"error": "Unauthorized"})
        elif call.path == "/version":
            reply(writer, 200, {"version": self.version})
        elif call.path == "/health":
            # Well even while its engine hangs, as vLLM.
            reply(writer, 200, b"")
        elif call.path == "/v1/models":
            entry = {"id": self.model, "object": "model", "root": self.root, "max_model_len": self.max_model_len}
            reply(writer, 200, {"object": "list", "data": [entry]})
        elif call.path == "/tokenize":
            reply(writer, 200, {"count": len(call.body["prompt"].split()), "max_model_len": self.max_model_len})
        elif call.path == "/v1/rerank" or (call.path == "/v1/score" and self.has_score_route):
            await self._score(call, reader, writer)
        else:
            reply(writer, 404, {"detail": "Not Found"})

    async def _score(self, call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if call.is_probe and not self.fails_probes:
            right = answer_to(call)
            if self.reverses:
                for row in right["data"]:
                    row["score"] = 1 - row["score"]
            reply(writer, 200, right)
            return
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.delay_s and await self._left_within(self.delay_s, reader):
                self.abandoned += 1
                raise ConnectionResetError
            fault = self.always or (self.faults.popleft() if self.faults else None)
            if fault:
                await fault(call, writer)
            elif call.body["model"] != self.model:
                message = f"The model `{call.body['model']}` does not exist."
                reply(writer, 404, {"error": {"message": message, "type": "NotFoundError", "param": None, "code": 404}})
            elif not self.multimodal and dict in map(type, [*call.queries, *call.documents]):
                await status(400, "MultiModalParam is not supported for BertForSequenceClassification")(call, writer)
            else:
                await self._work(call, reader)
                reply(writer, 200, answer_to(call))
        finally:
            self.in_flight -= 1

    async def _work(self, call: Call, reader: asyncio.StreamReader) -> None:
        async with self._engine:
            seconds = self.slowness * (self.fixed_s + self.per_document_s * len(call.documents))
            if seconds and await self._left_within(seconds, reader):
                self.abandoned += 1
                raise ConnectionResetError

    @staticmethod
    async def _left_within(seconds: float, reader: asyncio.StreamReader) -> bool:
        """Whether the caller closed its connection while it waited."""
        try:
            async with asyncio.timeout(seconds):
                # Nobody sends a second call before the first is answered: all there can be is the end.
                return not await reader.read(1)
        except TimeoutError:
            return False


def answer_to(call: Call) -> dict[str, Any]:
    """vLLM's answer to a scoring call."""
    scores = [score_of(query, document) for query, document in zip(call.queries, call.documents, strict=True)]
    tokens = sum(len(str(side).split()) for side in (*call.queries, *call.documents))
    shared = {"id": "score-1", "model": call.body["model"], "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    if call.path == "/v1/score":
        rows = [{"index": index, "object": "score", "score": score} for index, score in enumerate(scores)]
        return shared | {"object": "list", "created": 1, "data": rows}
    results: list[dict[str, Any]] = [
        {"index": index, "document": {"text": call.documents[index], "multi_modal": None}, "relevance_score": score}
        for index, score in enumerate(scores)
    ]
    return shared | {"results": sorted(results, key=lambda row: -row["relevance_score"])}


def reply(writer: asyncio.StreamWriter, status: int, body: Any, **headers: str) -> None:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Status", "Content-Type: application/json", f"Content-Length: {len(payload)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + payload)


def status(code: int, message: str = "no", **headers: str) -> Fault:
    """Answer with an error of vLLM's shape."""

    async def fault(_: Call, writer: asyncio.StreamWriter) -> None:
        reply(writer, code, {"error": {"message": message, "type": "Error", "param": None, "code": code}}, **headers)

    return fault


def altered(alter: Callable[[dict[str, Any]], Any]) -> Fault:
    """Answer 200 with what `alter` makes of the right answer (or changes in it)."""

    async def fault(call: Call, writer: asyncio.StreamWriter) -> None:
        right = answer_to(call)
        changed = alter(right)
        reply(writer, 200, right if changed is None else changed)

    return fault


async def reset(_: Call, writer: asyncio.StreamWriter) -> None:
    """Close the connection before the first byte of an answer."""
    writer.transport.abort()


async def begin(call: Call, writer: asyncio.StreamWriter) -> None:
    """Send the headers and the first byte of the answer."""
    payload = json.dumps(answer_to(call)).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n{" % len(payload))
    await writer.drain()


async def half(call: Call, writer: asyncio.StreamWriter) -> None:
    """Break off in the middle of the answer."""
    payload = json.dumps(answer_to(call)).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(payload) + payload[: len(payload) // 2])
    await writer.drain()
    await asyncio.sleep(0.02)
    writer.transport.abort()


async def hang(_: Call, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - a fault's signature
    """Never answer."""
    await asyncio.sleep(3600)


async def _read_call(reader: asyncio.StreamReader) -> Call | None:
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Call(method, path, headers, json.loads(body) if body else None)
