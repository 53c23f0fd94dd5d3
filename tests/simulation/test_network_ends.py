"""Connections of the simulated network end as the kernel's do, for who reads and for who writes."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

import pytest

from tests.simulation.seams import run_simulated
from tests.simulation.test_network import PORT, TEXT, Talk, talking


async def met(what: Awaitable[bytes]) -> object:
    """What came of it: bytes, or a kind of error."""
    try:
        async with asyncio.timeout(5):
            return await what
    except OSError as exc:
        return type(exc)


async def close_soon(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # What it was sent so far is read, though nobody asks for it.
    await asyncio.sleep(0.05)
    writer.close()


async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(5)
    writer.write(TEXT)
    writer.transport.abort()


async def leave_unread(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    cast("asyncio.Transport", writer.transport).pause_reading()
    await asyncio.sleep(0.1)
    writer.write(b"bye")
    writer.close()


async def write_on(address: str, port: int) -> bytes:
    """Go on writing to an end that has said that it is done."""
    reader, writer = await asyncio.open_connection(address, port)
    cast("asyncio.Transport", writer.transport).pause_reading()
    try:
        for _ in range(3):
            writer.write(b"hello")
            await asyncio.sleep(0.1)
            await writer.drain()
        return await reader.read()
    finally:
        writer.close()


async def read_all(address: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    writer.write(b"hello")
    try:
        return await reader.read()
    finally:
        writer.close()


async def read_late(address: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    writer.write(b"hello")
    await asyncio.sleep(0.3)
    try:
        return await reader.read(3)
    finally:
        writer.close()


async def write_after_the_end(address: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    writer.write(b"hello")
    try:
        await reader.read()
        for _ in range(3):
            writer.write(b"hello")
            await asyncio.sleep(0.1)
            await writer.drain()
        return b"nothing is wrong"
    finally:
        writer.close()


@pytest.mark.parametrize("talk", [close_soon, break_off, leave_unread])
@pytest.mark.parametrize("client", [write_on, write_after_the_end, read_all, read_late])
def test_connections_end_as_the_kernels_do(talk: Talk, client: Callable[[str, int], Awaitable[bytes]]):
    async def over_network() -> object:
        talking(talk)
        return await met(client("10.0.0.1", PORT))

    async def over_kernel() -> object:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                await talk(reader, writer)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            told = await met(client(*server.sockets[0].getsockname()))
            await asyncio.sleep(0.1)
        return told

    assert run_simulated(over_network(), seed=1) == asyncio.run(over_kernel())
