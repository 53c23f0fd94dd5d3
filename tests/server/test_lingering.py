"""Connections whose clients still send when they have their answer: how long they are kept."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

from app.server.clients import Clients
from app.server.lingering import LingeringCloses
from tests.security.raw import CHUNKED, POST, connected
from tests.server.refusing import refusing
from tests.waiting import until

MIB = 2**20
ANSWER = b"HTTP/1.1 401 Unauthorized\r\n"


def refusing_within(**limits: Any) -> AbstractAsyncContextManager[tuple[Clients, int]]:
    return refusing(Clients(lingering=LingeringCloses(**limits)))


async def test_a_client_hears_its_answer_and_is_read_until_it_has_sent_all_and_not_longer():
    async with refusing_within() as (clients, port), connected(port) as (reader, writer), asyncio.timeout(10):
        writer.write(POST + b"Content-Length: %d\r\n\r\n" % (2 * MIB) + bytes(MIB))
        # The end of the answer is told at once, while the client still sends.
        assert (await reader.read()).startswith(ANSWER)
        writer.write(bytes(MIB - 1))
        await writer.drain()
        assert (clients.connections, clients.lingering.under_way) == (1, 1)
        writer.write(bytes(1))
        await until(lambda: (clients.connections, clients.lingering.under_way) == (0, 0))


async def test_a_client_that_sends_nothing_more_is_let_go_at_once():
    for leaves in ("closes its side", "is cut"):
        async with refusing_within() as (clients, port), connected(port) as (reader, writer), asyncio.timeout(10):
            writer.write(CHUNKED + b"5\r\nabcde\r\n")
            assert (await reader.read()).startswith(ANSWER)
            assert clients.lingering.under_way == 1
            writer.write_eof() if leaves == "closes its side" else writer.transport.abort()
            await until(lambda: (clients.connections, clients.lingering.under_way) == (0, 0))


async def test_a_client_that_never_ends_is_cut_off_after_so_many_bytes():
    async with (
        refusing_within(most_bytes=8 * MIB) as (clients, port),
        connected(port) as (reader, writer),
        asyncio.timeout(10),
    ):
        writer.write(CHUNKED)
        assert (await reader.read()).startswith(ANSWER)
        sent = 0
        while clients.connections:
            writer.write(bytes(MIB))
            await asyncio.sleep(0.001)
            sent += MIB
        assert clients.lingering.under_way == 0
        assert sent >= 8 * MIB


async def test_a_client_that_stops_half_way_is_closed_after_so_much_time():
    async with refusing_within(most_s=0.1) as (clients, port), connected(port) as (reader, writer), asyncio.timeout(10):
        writer.write(CHUNKED)
        assert (await reader.read()).startswith(ANSWER)
        await until(lambda: (clients.connections, clients.lingering.under_way) == (0, 0))


async def test_one_too_many_is_closed_at_once():
    async with refusing_within(most=1) as (clients, port), connected(port) as (reader, writer), asyncio.timeout(10):
        writer.write(CHUNKED)
        assert (await reader.read()).startswith(ANSWER)
        async with connected(port) as (second_reader, second):
            second.write(CHUNKED)
            assert (await second_reader.read()).startswith(ANSWER)
            await until(lambda: clients.connections == 1)
        assert clients.lingering.under_way == 1
        writer.transport.abort()
        await until(lambda: clients.lingering.under_way == 0)
        async with connected(port) as (third_reader, third):
            third.write(CHUNKED)
            assert (await third_reader.read()).startswith(ANSWER)
            assert clients.lingering.under_way == 1


async def test_a_head_that_is_too_large_is_told_so_however_much_more_comes():
    async with refusing_within() as (clients, port), connected(port) as (reader, writer), asyncio.timeout(10):
        writer.write(POST + b"X: " + bytes([97]) * 32 * MIB)
        await writer.drain()
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        assert clients.lingering.under_way == 1


def test_strangers_pin_64_connections_for_10_s_and_96_mib_at_most():
    assert LingeringCloses() == LingeringCloses(most=64, most_bytes=96 * MIB, most_s=10)
