"""What may stand where a gateway is expected: proxies and servers of raw sockets, each with one fault."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

from tests.listening import listening


class Request(NamedTuple):
    head: bytes
    path: str
    body: bytes


class Answer(NamedTuple):
    status: int
    body: bytes
    type: str = "application/json"
    more: str = ""


# What is answered to a request, given what the server behind would say.
Alter = Callable[[Request, Answer], Answer]


@asynccontextmanager
async def front(
    behind: httpx.AsyncClient | None, alter: Alter, *, idle_s: float | None = None, pause_s: float = 0.0
) -> AsyncIterator[tuple[str, list[Request]]]:
    """The URL of a server that passes requests on, alters the answers and takes its time, and what it was asked."""
    asked: list[Request] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(idle_s):
                    request = await _read(reader)
                asked.append(request)
                answer = alter(request, await _passed_on(behind, request))
                await asyncio.sleep(pause_s)
                writer.write(_written(answer))
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            writer.close()

    async with listening(serve) as port:
        yield f"http://127.0.0.1:{port}", asked


def rescored(change: Callable[[dict[str, Any]], object]) -> Alter:
    """Change what is answered to rerank calls of the vllm provider."""

    def alter(_: Request, right: Answer) -> Answer:
        answer = json.loads(right.body or b"null")
        if isinstance(answer, dict) and "results" in answer:
            change(answer)
        return right._replace(body=json.dumps(answer).encode())

    return alter


async def _read(reader: asyncio.StreamReader) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    body = await reader.readexactly(int(headers.get(b"content-length", 0)))
    return Request(head, head.split()[1].decode(), body)


async def _passed_on(behind: httpx.AsyncClient | None, request: Request) -> Answer:
    if behind is None:
        return Answer(404, b'{"detail":"Not Found"}')
    method = request.head.split()[0].decode()
    headers = {"Content-Type": "application/json"}
    response = await behind.request(method, request.path, content=request.body or None, headers=headers)
    return Answer(response.status_code, response.content, response.headers.get("content-type", ""))


def _written(answer: Answer) -> bytes:
    head = f"HTTP/1.1 {answer.status} Status\r\nContent-Type: {answer.type}\r\n{answer.more}"
    return f"{head}Content-Length: {len(answer.body)}\r\n\r\n".encode() + answer.body
