"""Requests as nobody in their right mind sends them, straight into the ASGI application."""

import asyncio
import json
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from starlette.types import ASGIApp

from app.api.dialects import NAMES, ROUTES

# Every text that is a client's own has this in it: it must turn up nowhere.
MARK = "zq7"
_METHODS = ("POST",) * 12 + ("GET", "PUT", "HEAD", MARK.upper())
_PLACES = ("/metrics", "/v1/models", "/readyz", "/version", "/docs", "/openapi.json", "/", "")
_DIALECTS = (*NAMES, "score")
_NAMES = ("query", "documents", "texts", "top_n", "top_k", "model", "rank_fields", "text_1", "text_2", "priority")


class Odd(NamedTuple):
    """A request as the server hands it to the application."""

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


def odd_request(rng: Random) -> Odd:
    """One of endlessly many."""
    query = "&".join(f"{name}={value}" for name, value in _parameters(rng)).encode()
    if rng.random() < 0.02:
        query += b"&x=\xff"
    path = _path(rng)
    headers = [(name.encode(), value.encode("latin-1")) for name, value in _headers(rng)]
    return Odd(rng.choice(_METHODS), path, query, headers, _body(rng, path))


class Received(NamedTuple):
    """What the application answers."""

    status: int
    body: bytes


async def received(app: ASGIApp, odd: Odd) -> Received:
    """The answer to one request of a client that stays until it has it."""
    messages: list[Any] = []
    is_read = False

    async def receive() -> dict[str, Any]:
        nonlocal is_read
        if is_read:
            await asyncio.get_running_loop().create_future()
        is_read = True
        return {"type": "http.request", "body": odd.body, "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": odd.method,
        "path": odd.path,
        "raw_path": odd.path.encode(),
        "query_string": odd.query,
        "headers": odd.headers,
        "server": ("127.0.0.1", 8080),
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    return Received(messages[0]["status"], b"".join(message.get("body", b"") for message in messages))


def _own(rng: Random) -> str:
    return f"{MARK}{rng.randrange(10**9):x}"


def _path(rng: Random) -> str:
    path = rng.choice(ROUTES)
    odd: tuple[Callable[[], str], ...] = (
        lambda: path + "/" * rng.randrange(1, 4),
        lambda: f"/{path}",
        lambda: f"/{_own(rng)}{path}",
        lambda: f"/{rng.choice(_DIALECTS)}/models/{_own(rng)}{path}",
        path.upper,
        lambda: f"{path}/{_own(rng)}",
        lambda: f"{path}?{_own(rng)}",
        lambda: f"{path}\n{_own(rng)}",
        lambda: f"/{_own(rng)}",
        lambda: rng.choice(_PLACES),
    )
    return path if rng.random() < 0.8 else rng.choice(odd)()


def _parameters(rng: Random) -> list[tuple[str, str]]:
    possible = [
        ("dialect", rng.choice((*_DIALECTS, _own(rng)))),
        ("model", rng.choice(("m", _own(rng)))),
        ("timeout_ms", rng.choice(("50", "0", _own(rng), "9" * 30))),
        ("cache", rng.choice(("no-cache", "no-store", _own(rng)))),
        (_own(rng), _own(rng)),
    ]
    return [one for one in possible if rng.random() < 0.12]


def _headers(rng: Random) -> list[tuple[str, str]]:
    possible = [
        ("host", rng.choice(("gateway:8080", f"{_own(rng)}/v1/rerank", f"[{_own(rng)}", "a b", ""))),
        ("authorization", rng.choice((f"Bearer {_own(rng)}", "Basic !", _own(rng)))),
        ("content-type", rng.choice(("application/json", "text/plain", _own(rng)))),
        ("content-length", rng.choice(("10", "99999999999", _own(rng)))),
        ("content-encoding", rng.choice(("gzip", _own(rng)))),
        ("x-request-id", rng.choice((_own(rng), "\xff" + _own(rng)))),
        ("x-request-timeout-ms", rng.choice(("20", "-1", _own(rng)))),
        ("x-rerank-cache", rng.choice(("no-store", _own(rng)))),
        ("x-rerank-degraded", rng.choice(("deny", _own(rng)))),
        (_own(rng), _own(rng)),
    ]
    given = [one for one in possible if rng.random() < 0.08]
    return [*given, ("authorization", f"Bearer {rng.choice(('hush', 'hush-2'))}")]


def _body(rng: Random, path: str) -> bytes:
    texts = [_own(rng) for _ in range(rng.randrange(1, 6))]
    documents: list[Any] = [{"text": text, "title": text} for text in texts] if rng.random() < 0.2 else list(texts)
    usual: dict[str, Any] = {"query": _own(rng), "documents": documents}
    if "score" in path:
        usual = {"text_1": _own(rng), "text_2": texts}
    elif rng.random() < 0.2:
        usual = {"query": _own(rng), "texts": texts}
    if rng.random() < 0.2:
        usual["top_k"] = rng.choice((1, -1, _own(rng)))
    if rng.random() < 0.1:
        usual["model"] = rng.choice(("m", _own(rng), 7))
    if rng.random() < 0.1:
        usual[rng.choice((*_NAMES, _own(rng)))] = rng.choice((None, -1, 10**30, _own(rng), [], {}, [_own(rng)]))
    body = json.dumps(usual).encode()
    if rng.random() < 0.05:
        body = body[: rng.randrange(len(body))]
    return body + (b"\xff" if rng.random() < 0.02 else b"")
