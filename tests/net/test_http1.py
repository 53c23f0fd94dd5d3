"""HTTP as a worker may speak it, on real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from app.net.http1 import Broken, Connections, Reply, TooLong
from tests.listening import listening
from tests.waiting import until

HEAD = b"POST /score HTTP/1.1\r\nHost: worker\r\nContent-Length: 4\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

# What the server does with its n-th request.
Answer = Callable[[asyncio.StreamWriter, int], Awaitable[None]]


class Server:
    """Answers requests of four bytes, and sees which connections they come on."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.requests = 0
        self.connections = 0
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(4) == b"body"
                self.requests += 1
                await self._answer(writer, self.requests)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def talking(answer: Answer, *, idle_s: float = 5.0) -> AsyncIterator[tuple[Connections, Server]]:
    server = Server(answer)
    async with listening(server.serve) as port:
        connections = Connections("127.0.0.1", port, tls=None, connect_timeout_s=5.0, idle_s=idle_s)
        try:
            yield connections, server
        finally:
            connections.close()


async def post(connections: Connections, most: int = 1000) -> Reply:
    return await connections.request(lambda: HEAD, b"body", max_answer_bytes=most)


def sending(*parts: bytes, ends: bool = False) -> Answer:
    """Each part in a packet of its own."""

    async def answer(writer: asyncio.StreamWriter, _: int) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.001)
        if ends:
            writer.close()
            await writer.wait_closed()

    return answer


async def test_a_connection_is_used_again():
    async with talking(sending(OK)) as (connections, server):
        for _ in range(3):
            assert await post(connections) == Reply(200, {"content-length": "2"}, b"ok")
        assert (server.requests, server.connections) == (3, 1)


async def test_calls_at_once_have_connections_of_their_own():
    async with talking(sending(OK)) as (connections, server):
        await asyncio.gather(*(post(connections) for _ in range(5)))
        assert server.connections == 5
        await asyncio.gather(*(post(connections) for _ in range(5)))
        assert server.connections == 5


@pytest.mark.parametrize("packets", [1, 2, 7, 10**6])
async def test_an_answer_may_come_in_pieces_of_any_size(packets: int):
    whole = b"HTTP/1.1 429 Slow Down\r\nRetry-After: 3\r\nContent-Length: 5\r\n\r\nlater"
    size = max(1, len(whole) // packets)
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    async with talking(sending(*pieces)) as (connections, _):
        for _ in range(2):
            reply = await post(connections)
            assert (reply.status, reply.headers["retry-after"], reply.body) == (429, "3", b"later")


async def test_a_chunked_answer_is_put_together():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b"3\r\ncde\r\n0\r\n\r\n"
    async with talking(sending(*chunked)) as (connections, server):
        for _ in range(2):
            assert (await post(connections)).body == b"abcde"
        assert server.connections == 1


async def test_chunks_may_be_small_and_headers_many():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200))
    parts = [head + b"\r\n10\r\n" + b"x" * 16 + b"\r\n", *[b"1\r\ny\r\n"] * 50, b"0\r\n\r\n"]
    async with talking(sending(*parts)) as (connections, _):
        assert (await post(connections, most=10_000)).body == 16 * b"x" + 50 * b"y"


async def test_a_call_may_have_a_connection_for_itself():
    async with talking(sending(OK)) as (connections, server):
        await post(connections)
        for _ in range(3):
            await connections.request(lambda: HEAD, b"body", max_answer_bytes=1000, is_alone=True)
        await until(lambda: server.open == 1)
        await post(connections)
        assert server.connections == 4


async def test_what_comes_before_the_final_answer_is_passed_over():
    async with talking(sending(b"HTTP/1.1 100 Continue\r\n\r\n", OK)) as (connections, server):
        for _ in range(2):
            assert (await post(connections)).body == b"ok"
        assert server.connections == 1


async def test_an_answer_without_a_length_ends_with_the_connection():
    async with talking(sending(b"HTTP/1.0 200 OK\r\n\r\n", b"to the end", ends=True)) as (connections, server):
        for _ in range(2):
            assert (await post(connections)).body == b"to the end"
        assert server.connections == 2


async def test_a_connection_that_the_server_closes_is_not_used_again():
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    async with talking(sending(closing)) as (connections, server):
        for _ in range(2):
            assert (await post(connections)).body == b"ok"
        assert server.connections == 2


async def test_an_answer_with_the_end_of_the_connection_behind_it_counts():
    async with talking(sending(OK, ends=True)) as (connections, server):
        for _ in range(20):
            assert (await post(connections)).body == b"ok"
            await until(lambda: " 0 open" in repr(connections))
        assert server.connections == 20


async def test_a_connection_on_which_more_came_than_an_answer_is_not_used_again():
    async with talking(sending(OK + OK)) as (connections, server):
        for _ in range(2):
            assert (await post(connections)).body == b"ok"
        assert server.connections == 2


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200", b"SSH-2.0-OpenSSH_9.2\r\n"])
async def test_an_end_before_the_head_of_an_answer_is_told_apart(sent: bytes):
    async with talking(sending(sent, ends=True)) as (connections, _):
        with pytest.raises(Broken) as caught:
            await post(connections)
        assert not caught.value.answered


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n",
    ],
)
async def test_half_an_answer_is_none(sent: bytes):
    async with talking(sending(sent, ends=True)) as (connections, _):
        with pytest.raises(Broken) as caught:
            await post(connections)
        assert caught.value.answered


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "])
async def test_an_answer_beyond_the_limit_is_not_taken(head: bytes):
    async with talking(sending(head + 1500 * b"x")) as (connections, server):
        with pytest.raises(TooLong):
            await post(connections)
        await until(lambda: server.open == 0)


async def test_cancelling_closes_the_connection():
    async with talking(sending()) as (connections, server):
        call = asyncio.create_task(post(connections))
        await until(lambda: server.requests == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: server.open == 0)


async def test_a_connection_is_let_go_when_it_was_idle_for_long():
    async with talking(sending(OK), idle_s=0.02) as (connections, server):
        await post(connections)
        await until(lambda: server.open == 0)
        await post(connections)
        assert server.connections == 2


async def test_closing_breaks_calls_under_way_and_lets_go_of_idle_connections():
    async def first_only(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 1:
            writer.write(OK)

    async with talking(first_only) as (connections, server):
        await post(connections)
        call = asyncio.create_task(post(connections))
        await until(lambda: server.requests == 2)
        connections.close()
        with pytest.raises(Broken):
            await call
        await until(lambda: server.open == 0)


async def test_a_connection_that_comes_about_after_the_end_is_not_used():
    async with talking(sending(OK)) as (connections, server):
        call = asyncio.create_task(post(connections))
        await asyncio.sleep(0)
        connections.close()
        with pytest.raises(Broken):
            await call
        await until(lambda: " 0 open" in repr(connections))
        assert server.requests == 0


async def test_a_server_that_hangs_up_while_it_is_not_called_is_called_anew():
    async def once(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(OK)
        await writer.drain()
        asyncio.get_running_loop().call_later(0.01, writer.close)

    async with talking(once) as (connections, server):
        for _ in range(3):
            assert (await post(connections)).body == b"ok"
            await until(lambda: " 0 open" in repr(connections))
        assert server.connections == 3


async def test_a_kept_connection_that_ends_as_it_is_used_again_costs_a_new_one_and_no_call():
    seen: set[asyncio.StreamWriter] = set()

    async def only_once(writer: asyncio.StreamWriter, _: int) -> None:
        if writer in seen:
            writer.close()
        else:
            seen.add(writer)
            writer.write(OK)

    async with talking(only_once) as (connections, server):
        # Several are kept, and each of them ends like that.
        await asyncio.gather(*(post(connections) for _ in range(4)))
        for _ in range(4):
            assert (await post(connections)).body == b"ok"
        assert server.connections == 8


async def test_a_request_that_takes_the_server_with_it_is_not_sent_twice():
    stopped = asyncio.Event()

    async def fall(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 1:
            writer.write(OK)
            return
        # Nobody listens any more when the connection ends.
        stopped.set()
        await asyncio.sleep(0.1)
        writer.close()

    server = Server(fall)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    connections = Connections("127.0.0.1", port, tls=None, connect_timeout_s=5.0, idle_s=5.0)
    await post(connections)
    call = asyncio.create_task(post(connections))
    await stopped.wait()
    listener.close()
    with pytest.raises(Broken):
        await call
    assert server.requests == 2
    connections.close()


async def test_a_request_that_was_perhaps_worked_on_is_not_made_again_unasked():
    async def end_later(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 1:
            writer.write(OK)
        else:
            await asyncio.sleep(0.7)
            writer.close()

    async with talking(end_later) as (connections, server):
        await post(connections)
        with pytest.raises(Broken):
            await post(connections)
        assert server.requests == 2
