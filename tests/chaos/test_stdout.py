"""Whatever becomes of standard output: every request is answered, and the process starts and stops as ever."""

import asyncio
import fcntl
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.awake import awake_clock
from tests.chaos.served import COMMAND, served

REQUESTS = 160
STOPS_WITHIN_S = 10


@contextmanager
def a_small_pipe() -> Iterator[tuple[int, int]]:
    """The two ends of a pipe that a dozen lines fill."""
    reads, writes = os.pipe()
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4096)
    try:
        yield reads, writes
    finally:
        os.close(reads)
        os.close(writes)


@contextmanager
def unread() -> Iterator[int]:
    with a_small_pipe() as (_, writes):
        yield writes


@contextmanager
def broken() -> Iterator[int]:
    reads, writes = os.pipe()
    os.close(reads)
    try:
        yield writes
    finally:
        os.close(writes)


@contextmanager
def full() -> Iterator[int]:
    disk = os.open("/dev/full", os.O_WRONLY)
    try:
        yield disk
    finally:
        os.close(disk)


@pytest.mark.parametrize("output", [unread, broken, full], ids=lambda output: output.__name__)
async def test_requests_are_answered_and_it_stops_although_no_line_gets_out(
    output: Callable[[], AbstractContextManager[int]],
):
    with output() as out, awake_clock() as now:
        async with served(stdout=out, stderr=out) as gateway:
            async with gateway.client() as client:
                for _ in range(REQUESTS // 8):
                    bodies = [client.post("/rerank", json={"query": "a", "documents": ["a"]}) for _ in range(8)]
                    assert [answer.status_code for answer in await asyncio.gather(*bodies)] == [200] * 8
                assert "rerank_log_lines_dropped_total 0.0" in (await client.get("/metrics")).text
            gateway.tell(signal.SIGHUP)
            gateway.tell(signal.SIGTERM)
            told_at = now()
            assert await gateway.ended() == 0
            assert now() - told_at < STOPS_WITHIN_S


async def test_a_start_that_fails_ends_although_nobody_reads_why():
    with socket.create_server(("127.0.0.1", 0)) as taken, a_small_pipe() as (_, out):
        os.set_blocking(out, False)
        while True:
            try:
                os.write(out, b"x" * 4096)
            except BlockingIOError:
                break
        os.set_blocking(out, True)
        async with served(stdout=out, stderr=out, PORT=str(taken.getsockname()[1])) as gateway:
            assert await gateway.ended() == 1


async def test_lines_that_nobody_read_for_a_while_come_whole_and_in_order_the_last_one_too():
    with a_small_pipe() as (reads, out):
        async with served(stdout=out) as gateway:
            async with gateway.client() as client:
                for number in range(100):
                    headers = {"X-Request-Id": f"{number}"}
                    await client.post("/rerank", json={"query": "a", "documents": ["a"]}, headers=headers)
            gateway.tell(signal.SIGTERM)
            reading = asyncio.create_task(asyncio.to_thread(_all, reads, b'"stopped"'))
            assert await gateway.ended() == 0
            events = [json.loads(line) for line in (await reading).splitlines()]
    ids = [int(event["request_id"]) for event in events if event["event"] == "request"]
    assert ids == list(range(100))
    assert events[-1]["event"] == "stopped"


def _all(reads: int, last: bytes) -> bytes:
    text = b""
    while last not in text or not text.endswith(b"\n"):
        text += os.read(reads, 2**16)
    return text


WITHOUT_STDOUT = """
import os, sys
os.close(1)
os.close(2)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


async def test_with_closed_standard_streams_no_line_goes_to_a_client():
    """Its sockets would have the numbers of standard output and error."""
    async with served("-c", WITHOUT_STDOUT, *COMMAND) as gateway:
        async with gateway.client() as client:
            for _ in range(20):
                answer = await client.post("/rerank", json={"query": "a", "documents": ["a"]})
                assert answer.json()["results"]
        gateway.tell(signal.SIGTERM)
        assert await gateway.ended() == 0
