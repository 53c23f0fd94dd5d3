"""How lines leave: in order, whole, and never by keeping anybody waiting."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from app.telemetry.line_writer import LineWriter
from tests.awake import awake_clock

LINE = "x" * 300


class Pipe:
    """A writer to a pipe, and its reader."""

    def __init__(self) -> None:
        self.reads, self.writes = os.pipe()
        self.writer = LineWriter(self.writes, about_dropped=lambda lines: f"dropped {lines}\n")

    def read(self, until: str) -> list[str]:
        """Lines up to and with the one that begins so."""
        text = ""
        while f"\n{until}" not in f"\n{text}" or not text.endswith("\n"):
            text += os.read(self.reads, 2**16).decode()
        return text.splitlines()


@contextmanager
def a_pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    try:
        yield pipe
    finally:
        pipe.writer.drain(within_s=5)
        os.close(pipe.reads)
        os.close(pipe.writes)


def test_lines_come_in_order_and_whole_however_long_they_are_and_from_however_many_threads():
    def write(name: str) -> None:
        for number in range(300):
            pipe.writer.write(f"{name} {number} {name * (10 if number % 10 else 9000)}\n")

    with a_pipe() as pipe:
        threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        lines: list[str] = []
        while len(lines) < 900:
            lines += pipe.read("")
        for thread in threads:
            thread.join()
    for name in "abc":
        expected = [f"{name} {number} {name * (10 if number % 10 else 9000)}" for number in range(300)]
        assert [line for line in lines if line.startswith(name)] == expected


def test_lines_that_nobody_reads_are_held_up_to_a_limit_then_dropped_and_the_next_that_comes_through_says_how_many():
    with a_pipe() as pipe, awake_clock() as now:
        began = now()
        for number in range(20_000):
            pipe.writer.write(f"{number} {LINE}\n")
        assert now() - began < 2
        assert 10_000 < pipe.writer.dropped < 20_000
        first = pipe.read("dropped")
        for number in range(20_000, 20_010):
            pipe.writer.write(f"{number} {LINE}\n")
        then = pipe.read("20009")
    lines = [*first, *then]
    told = [int(line.removeprefix("dropped ")) for line in lines if line.startswith("dropped")]
    numbers = [int(line.split()[0]) for line in lines if not line.startswith("dropped")]
    assert numbers == sorted(numbers)
    assert sum(told) == pipe.writer.dropped == 20_010 - len(numbers)
    assert numbers[-1] == 20_009


def test_what_is_half_written_to_a_full_pipe_that_does_not_block_is_finished_later():
    with a_pipe() as pipe:
        os.set_blocking(pipe.writes, False)
        sent = [f"{number} {'y' * 5000}" for number in range(60)]
        for line in sent:
            pipe.writer.write(line + "\n")
        assert pipe.read("59") == sent


def test_a_pipe_whose_reader_is_gone_and_a_full_disk_fail_nobody():
    reads, closed = os.pipe()
    os.close(reads)
    full = os.open("/dev/full", os.O_WRONLY)
    for fd in (closed, full):
        writer = LineWriter(fd, about_dropped=str)
        for _ in range(20_000):
            writer.write(LINE + "\n")
        assert writer.dropped > 10_000
        began = monotonic()
        writer.drain(within_s=0.1)
        assert monotonic() - began >= 0.1
        # Its thread goes on trying: it gets something that takes all.
        writer.fd = os.open(os.devnull, os.O_WRONLY)
        writer.drain(within_s=10)
        os.close(fd)
        os.close(writer.fd)


UNCAUGHT = """
import logging, sys, threading, warnings
from app.telemetry import log
log.configure(style="json", level="info")
log.take_uncaught()
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
warnings.warn("odd")
class Last:
    def __del__(self):
        raise ValueError("in the end")
Last()
logging.getLogger("library").error("%d", "no number")
raise RuntimeError("the start failed")
"""


def test_what_nobody_catches_is_logged_and_nothing_is_written_to_standard_error():
    ended = subprocess.run([sys.executable, "-c", UNCAUGHT], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "")
    told = ended.stdout.splitlines()
    for line, words in zip(told, ("ZeroDivisionError", "odd", "in the end", "the start failed"), strict=True):
        assert words in line
