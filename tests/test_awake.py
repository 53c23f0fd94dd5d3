"""The clock that leaves out standstills leaves out nothing else."""

import asyncio
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.awake import awake_clock

ROOT = Path(__file__).parents[1]
STANDING_S = 1.0
ACT_S = 0.3
# Tells when it begins, and how long the clock says it took to read a line.
READER = """
import sys
from tests.awake import awake_clock
with awake_clock() as now:
    began = now()
    print("reading", flush=True)
    sys.stdin.readline()
    print(now() - began, flush=True)
"""


async def test_a_process_that_was_stopped_has_not_taken_longer():
    reader = await asyncio.create_subprocess_exec(sys.executable, "-c", READER, cwd=ROOT, stdin=PIPE, stdout=PIPE)
    assert reader.stdin
    assert reader.stdout
    await reader.stdout.readline()
    reader.send_signal(signal.SIGSTOP)
    await asyncio.sleep(STANDING_S)
    reader.send_signal(signal.SIGCONT)
    out, _ = await reader.communicate(b"\n")
    assert float(out) < STANDING_S / 2


async def _wait() -> None:
    await asyncio.sleep(ACT_S)


async def _block() -> None:
    time.sleep(ACT_S)  # noqa: ASYNC251 - what must not be done, and is to be seen


async def _compute() -> None:
    until = time.process_time() + ACT_S
    while time.process_time() < until:
        pass


@pytest.mark.parametrize("act", [_wait, _block, _compute])
async def test_what_waits_blocks_the_loop_or_computes_has_taken_its_time(act: Callable[[], Awaitable[None]]):
    took_s = []
    with awake_clock() as now:
        # The machine may stand still in one of them.
        for _ in range(3):
            began = now()
            await act()
            took_s.append(now() - began)
    assert max(took_s) > 0.9 * ACT_S
