"""How answers leave: whole in one write where nothing speaks against it, and what a request leaves behind."""

import asyncio
import gc
import json
import re
from typing import ClassVar

import httpx
import pytest
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.api.request import ClientConnection, HttpRequest
from app.main import create_app
from app.server.protocol import BoundedProtocol
from app.settings import Settings
from tests.fake_vllm import FakeVllm
from tests.running import serving, until_ready
from tests.security.raw import BODY, LENGTH, POST, SECOND, heard
from tests.waiting import until

FULL = POST + LENGTH + b"\r\n" + BODY
LAST = POST + LENGTH + b"Connection: close\r\n\r\n" + BODY
HUGE = POST + b"Content-Length: 1000000000\r\n\r\n" + BODY
# Answered before its body has come.
EARLY = SECOND.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n")
WRONG = POST + b"Content-Length: 2\r\n\r\n{}"
OLD = FULL.replace(b"HTTP/1.1", b"HTTP/1.0")


OF_A_REQUEST = (RequestResponseCycle, HttpRequest, ClientConnection, BoundedProtocol)


class _Watched(BoundedProtocol):
    """Tells which answers were sent whole; there are none while it is made to leave them to uvicorn."""

    whole: ClassVar[list[bool]] = []
    leaves_all: ClassVar[bool] = False

    def send_whole(self, response: Response) -> bool:
        self.whole.append(not self.leaves_all and super().send_whole(response))
        return self.whole[-1]


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Watched, "whole", [])


@pytest.mark.parametrize(
    ("sent", "whole", "last"),
    [
        (FULL, [True], "open"),
        (LAST, [False], "closed"),
        (OLD, [False], "closed"),
        (HUGE, [False], "closed"),
        (FULL + FULL + SECOND + FULL, [False, False, True], "open"),
        (FULL + b"GET", [True], "open"),
    ],
    ids=["one", "the last", "HTTP/1.0", "too large", "several at once", "the next has begun"],
)
async def test_an_answer_is_the_same_whole_and_in_parts(
    sent: bytes, whole: list[bool], last: str, monkeypatch: pytest.MonkeyPatch
):
    worker = FakeVllm()
    async with worker.running():
        app = create_app(Settings(workers=(worker.url,), drain_s=0))
        async with serving(app, _Watched) as url, httpx.AsyncClient(base_url=url) as client:
            await until_ready(client)
            first = await heard(client, sent, within_s=0.5)
            assert (_Watched.whole, first.is_closed) == (whole, last == "closed")
            monkeypatch.setattr(_Watched, "leaves_all", True)
            second = await heard(client, sent, within_s=0.5)
    assert _told(first.text) == _told(second.text)


async def test_an_answer_waits_until_its_client_has_read_the_last_one():
    worker = FakeVllm()
    async with worker.running():
        app = create_app(Settings(workers=(worker.url,), drain_s=0))
        async with serving(app, _Watched) as url, httpx.AsyncClient(base_url=url) as client:
            await until_ready(client)
            long = json.dumps({"query": "q", "documents": [letter * 900_000 for letter in "abcdefgh"]}).encode()
            echoed = POST.replace(b"/rerank", b"/v1/rerank") + b"Content-Length: %d\r\n\r\n" % len(long) + long
            reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
            try:
                writer.write(echoed)
                # So long an answer leaves in parts.
                await until(lambda: _Watched.whole == [False])
                writer.write(echoed)
                for _ in range(2):
                    head = await reader.readuntil(b"\r\n\r\n")
                    size = re.search(rb"content-length: (\d+)", head)
                    assert size
                    answer = json.loads(await reader.readexactly(int(size[1])))
                    assert sum(len(result["document"]["text"]) for result in answer["results"]) == 8 * 900_000
            finally:
                writer.transport.abort()


def _told(text: bytes) -> list[object]:
    """What answers say, but for what differs each time."""
    own = (b"x-request-id", b"server-timing", b"date", b"x-rerank-cache-hits")
    lines = [line for line in text.split(b"\r\n") if not line.lower().startswith(own)]
    return [_content(line) if line.startswith(b"{") else line.lower() for line in lines]


def _content(line: bytes) -> object:
    text, _, behind = line.partition(b"HTTP/1")
    return {**json.loads(text), "id": None, "usage": None}, behind


async def test_a_request_leaves_nothing_that_only_the_garbage_collector_could_free():
    worker = FakeVllm()
    async with worker.running():
        app = create_app(Settings(workers=(worker.url,), drain_s=0))
        async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
            await until_ready(client)
            gc.collect()
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                for sent in (FULL, FULL, LAST, EARLY, HUGE, WRONG):
                    await heard(client, sent, within_s=0.5)
                gc.collect()
                left = [thing for thing in gc.garbage if isinstance(thing, OF_A_REQUEST)]
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
    assert left == []
