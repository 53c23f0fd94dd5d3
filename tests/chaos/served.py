"""`rerank-gateway serve` as a process whose standard output and signals a test has in its hand."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx

from tests.integration.commands import free_port
from tests.running import until_ready

COMMAND = ("-m", "tests.chaos.gateway", "serve")
_REPOSITORY = Path(__file__).parents[2]
_PATIENCE_S = 30.0


class Served:
    """A gateway over the embedded worker."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def tell(self, sig: signal.Signals) -> None:
        """Send a signal, unless it is gone already."""
        if self.process.returncode is None:
            # Popen's own would take the exit code of a process that has just ended from asyncio.
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, sig)

    async def ended(self) -> int:
        """Its exit code."""
        async with asyncio.timeout(_PATIENCE_S):
            return await self.process.wait()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client, once it is ready."""
        transport = httpx.AsyncHTTPTransport(retries=9)
        async with httpx.AsyncClient(base_url=self.url, transport=transport, timeout=_PATIENCE_S) as client:
            await until_ready(client)
            yield client


@asynccontextmanager
async def served(
    *command: str, stdout: int = PIPE, stderr: int | None = None, **settings: str
) -> AsyncIterator[Served]:
    """The process from its first moment on; killed at the end of the block if it is still there.

    Args:
        command: Python's arguments.
        stdout: Its standard output.
        stderr: Its standard error.
        settings: Its `RERANK_` variables.
    """
    port = free_port()
    given = {"PORT": str(port), "DRAIN_S": "0"} | settings
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(command or COMMAND),
        cwd=_REPOSITORY,
        env=os.environ | {f"RERANK_{name}": value for name, value in given.items()},
        stdin=PIPE,
        stdout=stdout,
        stderr=stderr,
    )
    try:
        yield Served(process, port)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if process.stdin:
            process.stdin.close()


async def until_it_takes(sig: signal.Signals, gateway: Served) -> None:
    """Wait until the process has a handler for a signal, or ignores it."""
    async with asyncio.timeout(_PATIENCE_S):
        while not _takes(sig, gateway.process.pid):  # noqa: ASYNC110 - the kernel tells only when asked
            await asyncio.sleep(0.001)


def _takes(sig: signal.Signals, pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigIgn", "SigCgt"))]
    return any(mask >> (sig - 1) & 1 for mask in masks)
