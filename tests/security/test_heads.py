"""What comes before a request is bounded in size and time, for anybody."""

import asyncio
from contextlib import suppress

import httpx
import pytest

from app.main import create_app
from app.server.protocol import BoundedProtocol
from app.settings import Settings
from tests.growth import traced_memory
from tests.running import serving, until_ready
from tests.security.raw import BODY, CHUNKED, LENGTH, POST, heard

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 2**20
GET = b"GET /livez HTTP/1.1\r\nHost: gateway\r\n"
ENDLESS = {
    "one header": (GET + b"X: ", b"a"),
    "many headers": (GET, b"a:\r\n"),
    "a path": (b"GET /", b"a"),
    "a query string": (b"GET /livez?", b"a=b&"),
    "line feeds before a request": (b"", b"\r\n"),
    "trailers": (CHUNKED + b"0\r\n", b"a:\r\n"),
    "a chunk extension": (CHUNKED + b"5;", b"a"),
    "a chunk size": (CHUNKED, b"0"),
}


@pytest.mark.parametrize(("begun", "more"), ENDLESS.values(), ids=ENDLESS)
async def test_what_never_ends_is_refused_and_takes_no_memory(begun: bytes, more: bytes, client: httpx.AsyncClient):
    piece = more * (MIB // 4 // len(more))
    with traced_memory() as memory:
        answer = await heard(client, begun, *[piece] * 80)
        most_bytes = memory.most_bytes
    assert answer.is_closed
    assert set(answer.statuses) <= {400}
    assert most_bytes < 12 * MIB


@pytest.mark.parametrize(
    ("headers", "statuses"),
    [
        (b"X: " + b"a" * 60_000 + b"\r\n", [200]),
        (b"X: " + b"a" * 400_000 + b"\r\n", [400]),
        (b"X: a\r\n" * 250, [200]),
        (b"X: a\r\n" * 260, [400]),
    ],
    ids=["60 kB", "400 kB", "250 headers", "260 headers"],
)
async def test_a_head_may_have_64_kib_and_256_headers(headers: bytes, statuses: list[int], client: httpx.AsyncClient):
    assert (await heard(client, GET + headers + b"\r\n", within_s=0.4)).statuses == statuses


class _Hasty(BoundedProtocol):
    head_s = 0.1


@pytest.mark.parametrize(
    ("begun", "more"), [(b"\r\n", b""), (GET, b""), (GET + b"X: ", b"a")], ids=["line feeds", "half a head", "drops"]
)
async def test_a_head_that_does_not_end_in_time_closes_its_connection(begun: bytes, more: bytes):
    async with serving(create_app(Settings()), _Hasty) as url, httpx.AsyncClient(base_url=url) as client:
        await until_ready(client)
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        try:
            writer.write(begun)
            ended = asyncio.create_task(reader.read())
            async with asyncio.timeout(5):
                while not ended.done():
                    writer.write(more)
                    await asyncio.wait([ended], timeout=0.01)
            # What the client sends when it is closed may come back as a reset.
            with suppress(ConnectionResetError):
                assert await ended == b""
        finally:
            writer.transport.abort()


async def test_a_slow_request_after_a_quick_head_and_an_idle_connection_are_left_alone():
    async with serving(create_app(Settings()), _Hasty) as url, httpx.AsyncClient(base_url=url) as client:
        await until_ready(client)
        asked = asyncio.create_task(heard(client, POST + LENGTH + b"\r\n", BODY[:9], within_s=0.3))
        assert not (await heard(client, GET + b"\r\n", within_s=0.3)).is_closed
        assert not (await asked).is_closed


async def test_a_connection_on_which_nothing_comes_is_closed_like_an_idle_one():
    async with serving(create_app(Settings()), keep_alive_s=1) as url:
        client = httpx.AsyncClient(base_url=url)
        assert (await heard(client, within_s=5)).is_closed
        await client.aclose()
