"""Clients that close their side when they have sent their request, and those that are gone: TCP tells both alike."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product

from tests.fake_vllm import FakeVllm
from tests.integration.commands import Running, running
from tests.security.raw import BODY, CHUNKED, LENGTH, POST, connected
from tests.waiting import until

WHOLE = POST + LENGTH + b"\r\n" + BODY
REQUESTS = {
    "a length": WHOLE,
    "chunks": CHUNKED + b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n",
    "HTTP/1.0": WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "the last of three": WHOLE * 3,
    "the beginning of another behind it": WHOLE + b"POST /rer",
    "one without a worker": b"GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "one that is refused": POST + b"Content-Length: 2\r\n\r\n{}",
}


@asynccontextmanager
async def serving(worker: FakeVllm, **settings: str) -> AsyncIterator[Running]:
    async with worker.running(), running("serve", worker, CACHE="off", **settings) as gateway:
        await gateway.until_usable()
        yield gateway


async def answers(gateway: Running, sent: bytes) -> bytes:
    """All that comes back to a client that sends nothing more."""
    async with connected(gateway.port) as (reader, writer), asyncio.timeout(10):
        writer.write(sent)
        writer.write_eof()
        return await reader.read()


async def test_a_client_that_sends_nothing_more_gets_all_its_answers_and_the_connection_is_closed():
    worker = FakeVllm(fixed_s=0.1)
    async with serving(worker) as gateway:
        for name, sent in REQUESTS.items():
            text = await answers(gateway, sent)
            asked = max(1, sent.count(BODY))
            assert text.count(b"HTTP/1.1 ") == asked, (name, text)
            assert text.count(b'"relevance_score"') == 2 * sent.count(BODY), (name, text)
            assert text.endswith(b"}"), (name, text)


async def test_a_long_answer_reaches_a_client_that_sends_nothing_more():
    documents = [f'"{letter * 900_000}"' for letter in "abcdefgh"]
    body = b'{"query":"q","documents":[%s]}' % ",".join(documents).encode()
    post = POST.replace(b"/rerank", b"/v1/rerank")
    async with serving(FakeVllm(fixed_s=0.05)) as gateway:
        text = await answers(gateway, post + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    head, _, answer = text.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: %d\r\n" % len(answer) in head
    assert len(answer) > 8 * 900_000


async def test_a_client_that_is_gone_takes_its_work_with_it():
    worker = FakeVllm(delay_s=60)
    async with serving(worker) as gateway:
        for number, (version, way) in enumerate(product([b"HTTP/1.1", b"HTTP/1.0"], ["closes", "resets"])):
            client = socket.create_connection(("127.0.0.1", gateway.port))
            client.sendall(WHOLE.replace(b"HTTP/1.1", version))
            await until(lambda: worker.in_flight == 1)
            if way == "resets":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            async with asyncio.timeout(5):
                while worker.abandoned == number:  # noqa: ASYNC110 - no event tells of it
                    await asyncio.sleep(0.01)
        await until(lambda: gateway.text.count('"status":499') == 4)


async def test_a_client_that_leaves_after_it_has_closed_its_side_takes_its_work_with_it():
    worker = FakeVllm(delay_s=60)
    async with serving(worker) as gateway, connected(gateway.port) as (reader, writer):
        writer.write(WHOLE)
        writer.write_eof()
        # It has read all that there is when it leaves, so its system tells nobody.
        assert await reader.readexactly(3) == b"HTT"
        assert worker.abandoned == 0
        writer.close()
        async with asyncio.timeout(5):
            await until(lambda: worker.abandoned == 1)


async def test_a_client_that_leaves_in_the_middle_of_its_body_or_between_requests_is_let_go():
    async with serving(FakeVllm()) as gateway:
        assert await answers(gateway, WHOLE[:-1]) == b""
        assert await answers(gateway, WHOLE[:20]) == b""
        assert await answers(gateway, b"") == b""
