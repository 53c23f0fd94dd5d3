"""The least a gateway in Python can do: uvicorn, JSON, and the gateway's own connections to one worker.

No routes, limits, retries or errors, and no second worker: nobody should use it. What it costs, no gateway on this
server saves; what another costs beyond it pays for what that does.
"""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.types import Receive, Scope, Send

from app.net.http1 import Connections
from app.policy.rank import rank
from bench.peers.peer import Peer


class BareProxy:
    """Has the worker at `WORKERS` score everything."""

    def __init__(self) -> None:
        place = urlsplit(os.environ["WORKERS"])
        self._head = f"POST /v1/score HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
        self._connections = Connections(
            place.hostname or "", place.port or 80, tls=None, connect_timeout_s=2, idle_s=2.5
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        answer = await self._ranked(orjson.loads(body)) if body else {}
        content = orjson.dumps(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _ranked(self, asked: Any) -> Any:
        call = orjson.dumps({"model": asked["model"], "text_1": asked["query"], "text_2": asked["documents"]})
        head = f"{self._head}Content-Length: {len(call)}\r\n\r\n".encode()
        reply = await self._connections.request(lambda: head, call, max_answer_bytes=2**26)
        scores = [row["score"] for row in orjson.loads(reply.body)["data"]]
        return {"results": [{"index": index, "relevance_score": scores[index]} for index in rank(scores, None)]}


async def _read(receive: Receive) -> bytes:
    parts, is_whole = [], False
    while not is_whole:
        message = await receive()
        parts.append(message.get("body", b""))
        is_whole = not message.get("more_body", False)
    return b"".join(parts)


def _command(workers: Sequence[str], port: int, _: Path) -> Sequence[str]:
    serve = ("-m", "uvicorn", "--factory", "bench.peers.bare:BareProxy", "--lifespan", "off", "--no-access-log")
    return ("env", f"WORKERS={workers[0]}", sys.executable, *serve, "--host", "127.0.0.1", "--port", str(port))


BARE = Peer(
    name="bare proxy",
    version=lambda: f"uvicorn {version('uvicorn')}",
    command=_command,
    remark="`bench/peers/bare.py`: uvicorn, JSON and one call, no more: the least that a gateway in Python can cost",
)
