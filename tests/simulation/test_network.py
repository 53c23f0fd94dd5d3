"""The simulated network behaves as the kernel's does."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from tests.simulation.network import Connecting, Host
from tests.simulation.seams import network, now, over_network

PORT = 80
TEXT = bytes(range(256)) * 200
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def talking(talk: Talk, address: str = "10.0.0.1") -> Host:
    """A host on whose port every connection is served by `talk`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    host = network().host(address)
    host.listen(PORT, lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(), serve))
    return host


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, until it ends."""
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - as every `Talk`
    await asyncio.sleep(60)


async def ask(where: str, text: bytes = b"hello") -> bytes:
    """What a server sends back until it closes, to somebody who says that no more will come."""
    reader, writer = await asyncio.open_connection(where, PORT)
    writer.write(text)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("cuts", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("window_bytes", [1, 1000, 2**20])
@over_network
async def test_all_arrives_in_order_however_it_is_cut(cuts: float, window_bytes: int):
    host = talking(echo)
    host.cuts, host.window_bytes, host.jitter_s = cuts, window_bytes, 0.0001
    text = TEXT[: 400 * window_bytes]
    assert await ask("10.0.0.1", text) == text


@over_network
async def test_bytes_travel_for_as_long_as_their_host_says():
    talking(echo).latency_s = 0.1
    began = now()
    await ask("10.0.0.1")
    # To connect, and to ask.
    assert now() - began == pytest.approx(0.4)


@over_network
async def test_bytes_drip_as_fast_as_their_host_says():
    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 1000)

    talking(say).bytes_per_s = 100.0
    began = now()
    reader, writer = await asyncio.open_connection("10.0.0.1", PORT)
    await reader.readexactly(500)
    assert now() - began == pytest.approx(5, abs=0.2)
    await reader.read()
    assert now() - began == pytest.approx(10, abs=0.2)
    writer.close()


@over_network
async def test_who_writes_waits_while_nobody_reads():
    host = talking(silence)
    host.window_bytes = 1000
    _, writer = await asyncio.open_connection("10.0.0.1", PORT)
    # The reader's own buffer, its window, and what a writer may have waiting.
    writer.write(b"x" * 2 * 64 * 1024)
    await writer.drain()
    writer.write(b"x" * 2 * 64 * 1024)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30):
            await writer.drain()
    assert writer.transport.get_write_buffer_size() > 64 * 1024
    writer.transport.abort()
    await asyncio.sleep(60)


@over_network
async def test_nobody_gets_through_where_nobody_listens():
    network().host("10.0.0.1")
    with pytest.raises(ConnectionRefusedError):
        await ask("10.0.0.1")
    host = talking(echo)
    host.stop()
    with pytest.raises(ConnectionRefusedError):
        await ask("10.0.0.1")
    host.start()
    assert await ask("10.0.0.1") == b"hello"


@over_network
async def test_a_silent_host_is_asked_again_and_in_the_end_given_up():
    host = talking(echo)
    host.connecting = Connecting.SILENT
    began = now()
    asyncio.get_running_loop().call_later(4, host.start)
    assert await ask("10.0.0.1") == b"hello"
    assert now() - began == pytest.approx(7, abs=0.1)
    host.connecting = Connecting.SILENT
    began = now()
    with pytest.raises(TimeoutError):
        await ask("10.0.0.1")
    assert now() - began == pytest.approx(127, abs=0.1)


@over_network
async def test_a_name_leads_to_the_first_address_that_accepts():
    talking(echo, "10.0.0.2")
    talking(echo, "fd00::2")
    network().host("10.0.0.1").connecting = Connecting.REFUSE
    for addresses in (("10.0.0.1", "10.0.0.2"), ("10.0.0.1", "fd00::2")):
        network().name("gpu", *addresses)
        assert await ask("gpu") == b"hello"
    network().host("10.0.0.1").connecting = Connecting.SILENT
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await ask("gpu")
    async with asyncio.timeout(1):
        _, writer = await asyncio.open_connection("gpu", PORT, happy_eyeballs_delay=0.25)
    writer.close()


@over_network
async def test_names_hang_fail_and_change():
    talking(echo, "10.0.0.1")
    name = network().name("gpu")
    with pytest.raises(socket.gaierror, match="not known"):
        await ask("gpu")
    name.answer("10.0.0.1")
    assert await ask("gpu") == b"hello"
    name.hang(20)
    began = now()
    with pytest.raises(socket.gaierror, match="Temporary failure"):
        await ask("gpu")
    assert now() - began == pytest.approx(20)


@over_network
async def test_lookups_that_hang_keep_their_threads_from_others():
    talking(echo, "10.0.0.1")
    network().name("gpu", "10.0.0.1")
    network().name("gone").hang(20)
    for _ in range(6):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await ask("gone")
    began = now()
    assert await ask("gpu") == b"hello"
    assert now() - began > 19
    # One that has a thread of its own waits for nobody.
    network().look_up("gone", PORT, has_thread=True)
    began = now()
    await network().look_up("gpu", PORT, has_thread=True)
    assert now() - began < 0.1


@over_network
async def test_a_reset_breaks_who_reads_and_who_writes():
    host = talking(silence)
    reader, unused = await asyncio.open_connection("10.0.0.1", PORT)
    _, writer = await asyncio.open_connection("10.0.0.1", PORT)
    asyncio.get_running_loop().call_later(1, host.reset_connections)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.write(b"hello")
    with pytest.raises(ConnectionResetError):
        await writer.drain()
    unused.close()
    writer.close()
    await asyncio.sleep(60)


@over_network
async def test_a_frozen_host_accepts_but_says_nothing_until_it_thaws():
    host = talking(echo)
    host.freeze()
    reader, writer = await asyncio.open_connection("10.0.0.1", PORT)
    writer.write(b"hello")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await reader.read(1)
    host.thaw()
    assert await reader.readexactly(5) == b"hello"
    host.freeze(until=now() + 5)
    began = now()
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    assert now() - began == pytest.approx(5, abs=0.1)
    writer.close()
