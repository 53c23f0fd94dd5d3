"""Requests that had begun to come when the doors closed."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from tests.fake_vllm import FakeVllm
from tests.integration.commands import Running, running
from tests.security.raw import BODY, LENGTH, POST, connected

GET = b"GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n"
ALIVE = b'{"status":"ok"}'
HEAD = POST + LENGTH + b"\r\n"
# A gateway that waits for nothing ends within a second.
SOON_S = 5


@asynccontextmanager
async def serving(worker: FakeVllm) -> AsyncIterator[Running]:
    async with worker.running(), running("serve", worker, CACHE="off", DRAIN_S="0", KEEP_ALIVE_S="60") as gateway:
        await gateway.until_usable()
        yield gateway


async def closes_its_doors(gateway: Running) -> None:
    """Tell it to stop, and return when it accepts nobody any more."""
    gateway.tell(signal.SIGTERM)
    async with asyncio.timeout(SOON_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            except ConnectionRefusedError:
                break
            writer.close()
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)


async def test_a_request_whose_head_or_body_is_half_sent_when_the_doors_close_is_answered():
    whole = HEAD + BODY
    async with serving(FakeVllm(fixed_s=0.05)) as gateway, AsyncExitStack() as stack:
        connections = []
        # The last of them comes on a connection on which another has been answered.
        for earlier, begun in ((b"", 1), (b"", 40), (b"", len(HEAD) + 9), (GET, 40)):
            reader, writer = await stack.enter_async_context(connected(gateway.port))
            if earlier:
                writer.write(earlier)
                await reader.readuntil(ALIVE)
            writer.write(whole[:begun])
            connections.append((reader, writer, begun))
        await closes_its_doors(gateway)
        for _, writer, begun in connections:
            writer.write(whole[begun:])
        for reader, _, begun in connections:
            async with asyncio.timeout(SOON_S):
                text = await reader.read()
            assert text.startswith(b"HTTP/1.1 200"), (begun, text)
            assert b"connection: close" in text.lower()
        assert await gateway.ended(SOON_S) == 0


async def test_a_connection_on_which_nothing_has_begun_to_come_is_closed_at_once():
    async with serving(FakeVllm()) as gateway, connected(gateway.port) as (silent, _):
        async with connected(gateway.port) as (idle, writer):
            writer.write(GET)
            await idle.readuntil(ALIVE)
            gateway.tell(signal.SIGTERM)
            assert await gateway.ended(SOON_S) == 0
            assert await idle.read() == b""
        assert await silent.read() == b""
