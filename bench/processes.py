"""Servers as processes of their own on loopback, and what they cost: CPU time and memory, their children included."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter

from bench.connection import NotAnswered, connected, get

REPOSITORY = Path(__file__).parents[1]
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_LAST_WORDS_BYTES = 2000
_STOP_S = 5.0

_ALLOWED = sorted(os.sched_getaffinity(0))
# The measured server has a core for itself; workers and load share the others, or the same where there is only one.
MEASURED_CORES = frozenset(_ALLOWED[:1])
OTHER_CORES = frozenset(_ALLOWED[1:] or _ALLOWED)
ALL_CORES = frozenset(_ALLOWED)


class NotServing(Exception):
    """A server didn't come up; what it says last."""


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        url: Where it is called.
        pid: Its first process.
        start_s: How long it took until it answered.
    """

    url: str
    pid: int
    start_s: float

    def cpu_s(self) -> float:
        """The CPU time all threads of its processes have taken so far; source: Linux, sched-stats.rst."""
        return sum(map(_on_cpu_s, _family(self.pid)))

    def resident_bytes(self) -> int:
        """The memory all its processes have now; what some of them share counts once for each."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _family(self.pid)) * _PAGE_BYTES


@asynccontextmanager
async def serving(
    command: Sequence[str],
    *,
    port: int,
    cores: frozenset[int],
    ready: str,
    patience_s: float = 30.0,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Server]:
    """A server that runs until the end of the block; what it prints goes nowhere, but for the end of its errors.

    Args:
        command: What starts it.
        port: Where it will listen.
        cores: Where it may run.
        ready: The path that answers 200 once it serves.
        patience_s: How long it may take for that.
        environment: Further variables for it.

    Raises:
        NotServing: it ended, or took too long.
    """
    url = f"http://127.0.0.1:{port}"
    with TemporaryFile() as errors:
        began = perf_counter()
        process = await asyncio.create_subprocess_exec(
            *("taskset", "--cpu-list", ",".join(map(str, sorted(cores)))),
            *command,
            cwd=REPOSITORY,
            env=_environment() | dict(environment or {}),
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        try:
            if not await _is_ready(process, url, ready, patience_s):
                errors.seek(0)
                said = errors.read()[-_LAST_WORDS_BYTES:].decode(errors="replace").strip()
                raise NotServing(said or f"it didn't answer {ready} in {patience_s:g} s")
            yield Server(url, process.pid, perf_counter() - began)
        finally:
            await _stop(process)


def _environment() -> dict[str, str]:
    """Ours without what would change the servers; what they import of ours they find in their working directory."""
    return {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH" and not name.startswith("RERANK_")
    }


async def _is_ready(process: Process, url: str, ready: str, patience_s: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            while process.returncode is None:
                with suppress(OSError, NotAnswered, EOFError):
                    async with connected(url) as connection:
                        await connection.ask(get(ready))
                        return True
                await asyncio.sleep(0.005)
    return False


async def _stop(process: Process) -> None:
    """End it and whatever it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), _STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _family(pid: int) -> Iterator[int]:
    """A process and all its descendants."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _on_cpu_s(pid: int) -> float:
    """What the threads of a process have taken; those that have ended meanwhile are left out."""
    taken_ns = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            taken_ns += int((thread / "schedstat").read_text().split()[0])
    return taken_ns / 1e9
