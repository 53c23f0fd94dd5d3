"""The process of a fake vLLM: it answers as vLLM 0.32.0 does and costs less than what it is called by.

It keeps to a service time, one call after another as on one GPU, and counts what it scored. It ends with its stdin.
Below `/w1`, `/w2` and so on it answers as at its root, so that it can be very many workers.
"""

import asyncio
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast
from zlib import crc32

import httptools
import orjson
import typer
import uvloop

from app.workers.fingerprinter import PROBE_PREFIX
from app.workers.model_check import CHECK_PREFIX

MODEL = "tiny-reranker"
_MAX_MODEL_LEN = 512
_PLACE = re.compile(r"/w\d+(?=/)")
_LIMIT = {"max_model_len": _MAX_MODEL_LEN}
_ABOUT: dict[str, Any] = {
    "/health": {},
    "/version": {"version": "0.32.0"},
    "/v1/models": {
        "object": "list",
        "data": [{"id": MODEL, "object": "model", "owned_by": "vllm", "root": f"/models/{MODEL}"} | _LIMIT],
    },
}


def score_of(query: str, document: str) -> float:
    """A score in [0, 1) that depends on nothing but the pair; next to nothing to compute."""
    return crc32(document.encode(), crc32(query.encode())) / 2**32


def answer(path: str, call: Any) -> Any:
    """The answer of vLLM to a scoring call: in the order of the documents, or ranked and with all of them repeated."""
    query, documents = call.get("text_1", call.get("query")), documents_of(call)
    scores = [score_of(query, document) for document in documents]
    tokens = sum(map(len, documents)) // 4
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    shared = {"id": "score-bench", "model": MODEL, "usage": usage}
    if path.endswith("/score"):
        rows = [{"index": index, "object": "score", "score": score} for index, score in enumerate(scores)]
        return shared | {"object": "list", "created": 1, "data": rows}
    return shared | {"results": _ranked(scores, documents)}


def documents_of(call: Any) -> list[str]:
    """The texts a call wants scored."""
    texts: list[str] = call.get("text_2", call.get("documents"))
    return texts


def _ranked(scores: Sequence[float], documents: Sequence[str]) -> list[Any]:
    return [
        {"index": index, "document": {"text": documents[index], "multi_modal": None}, "relevance_score": scores[index]}
        for index in sorted(range(len(scores)), key=lambda index: -scores[index])
    ]


# What a gateway asks on its own account.
_OWN = (PROBE_PREFIX.encode(), CHECK_PREFIX.encode())


class _Engine:
    """What scores: busy with one call after another, and what it has done so far."""

    def __init__(self, *, fixed_s: float, per_document_s: float) -> None:
        self.done = {"calls": 0, "documents": 0}
        self._fixed_s = fixed_s
        self._per_document_s = per_document_s
        self._free_at = 0.0

    def score(self, documents: int, reply: Callable[[], None]) -> None:
        """Reply once a call with so many documents has had its turn."""
        self.done["calls"] += 1
        self.done["documents"] += documents
        work_s = self._fixed_s + documents * self._per_document_s
        if not work_s:
            reply()
            return
        loop = asyncio.get_running_loop()
        self._free_at = max(self._free_at, loop.time()) + work_s
        loop.call_at(self._free_at, reply)


class _Connection(asyncio.Protocol):
    """Reads one call after another."""

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._parser = httptools.HttpRequestParser(self)
        self.on_message_begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url, self._is_probe, self._body = b"", False, bytearray()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-request-id":
            self._is_probe = value.startswith(_OWN)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        path, call = _PLACE.sub("", self._url.decode(), count=1), orjson.loads(self._body or b"{}")
        if not path.endswith(("/rerank", "/score")):
            self._tell(path, call)
        elif self._is_probe:
            self._reply(200, answer(path, call))
        else:
            self._engine.score(len(documents_of(call)), lambda: self._reply(200, answer(path, call)))

    def _tell(self, path: str, call: Any) -> None:
        if path == "/counts":
            self._reply(200, self._engine.done)
        elif path == "/tokenize":
            self._reply(200, {"count": len(call["prompt"].split())} | _LIMIT)
        elif path in _ABOUT:
            self._reply(200, _ABOUT[path])
        else:
            self._reply(404, {"detail": "Not Found"})

    def _reply(self, status: int, said: Any) -> None:
        body = orjson.dumps(said)
        head = b"HTTP/1.1 %d OK\r\nserver: uvicorn\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % (status, len(body)) + body)


async def _serve(port: int, fixed_s: float, per_document_s: float) -> None:
    engine = _Engine(fixed_s=fixed_s, per_document_s=per_document_s)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(engine), "127.0.0.1", port)
    await server.serve_forever()


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(1)


def _main(port: int, fixed_s: float, per_document_s: float) -> None:
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    uvloop.run(_serve(port, fixed_s, per_document_s))


if __name__ == "__main__":
    typer.run(_main)
