"""The clock that leaves out standstills leaves out nothing else."""

import asyncio
import signal
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.awake import awake_clock

ROOT = Path(__file__).parents[1]
STANDING_S = 1.0
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


async def test_what_waits_or_blocks_the_loop_has_taken_its_time():
    with awake_clock() as now:
        began = now()
        await asyncio.sleep(0.3)
        waited = now()
        time.sleep(0.3)  # noqa: ASYNC251 - what a lookup must not do, and is to be seen doing
        blocked = now()
        until = time.perf_counter() + 0.3
        while time.perf_counter() < until:
            pass
        computed = now()
    assert min(waited - began, blocked - waited, computed - blocked) > 0.29
