"""A TCP balancer that goes by `/readyz`, as a Kubernetes Service does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count

from tests.chaos.stage import GatewayProcess
from tests.listening import listening

_INTERVAL_S = 0.1


@asynccontextmanager
async def balancing(gateways: Sequence[GatewayProcess]) -> AsyncIterator[str]:
    """The URL of a balancer over `gateways`; each connection goes to one that was ready a moment ago."""
    ready = list(gateways)
    turn = count()

    async def follow() -> None:
        while True:
            answers = await asyncio.gather(*[gateway.is_ready() for gateway in gateways])
            ready[:] = [gateway for gateway, is_ready in zip(gateways, answers, strict=True) if is_ready]
            await asyncio.sleep(_INTERVAL_S)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _connect(reader, writer, ready[next(turn) % len(ready)].port)

    follower = asyncio.create_task(follow())
    try:
        async with listening(connect) as port:
            yield f"http://127.0.0.1:{port}"
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)


async def _connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    try:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(_pump(reader, upstream_writer), _pump(upstream_reader, writer))
        finally:
            upstream_writer.close()
    except OSError:
        pass
    finally:
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(2**16):
        writer.write(part)
        await writer.drain()
    # One side has ended: so does the other, as soon as it has everything.
    writer.close()
