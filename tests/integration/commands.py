"""The `rerank-gateway` command as a process of its own, the way users start it."""

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.fake_vllm import FakeVllm
from tests.waiting import until

COMMAND = str(Path(sys.executable).with_name("rerank-gateway"))


class Finished(NamedTuple):
    code: int
    out: str
    err: str


async def run(*arguments: str, **settings: str) -> Finished:
    """Run the command to its end; `settings` are its `RERANK_` variables."""
    process = await asyncio.create_subprocess_exec(
        COMMAND, *arguments, stdout=PIPE, stderr=PIPE, env=_environment(settings)
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())


@dataclass
class Running:
    """A command that serves."""

    process: Process
    url: str
    lines: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Its log, line by line."""
        return [json.loads(line) for line in self.lines]

    async def until(self, words: str) -> None:
        """Wait until it has printed `words`."""
        await until(lambda: words in self.text or self.process.returncode is not None)
        assert words in self.text, self.text

    async def until_usable(self) -> None:
        """Wait until it serves and has found a worker."""
        await self.until('"serving"')
        await self.until('"usable":true')

    def tell(self, sig: signal.Signals) -> None:
        self.process.send_signal(sig)

    async def ended(self, within_s: float = 20) -> int:
        """Its exit code."""
        async with asyncio.timeout(within_s):
            return await self.process.wait()

    async def read(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))


@asynccontextmanager
async def running(command: str, *workers: FakeVllm, **settings: str) -> AsyncIterator[Running]:
    """`rerank-gateway <command>` over running workers, on a free port; killed at the end if it is still there."""
    port = free_port()
    given = {"PORT": str(port), "WORKERS": ",".join(worker.url for worker in workers)} | settings
    process = await asyncio.create_subprocess_exec(
        COMMAND, command, stdout=PIPE, stderr=STDOUT, env=_environment(given)
    )
    scheme = "https" if "TLS_CERT_FILE" in settings else "http"
    gateway = Running(process, f"{scheme}://127.0.0.1:{port}")
    reading = asyncio.create_task(gateway.read())
    try:
        yield gateway
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _environment(settings: dict[str, str]) -> dict[str, str]:
    return os.environ | {f"RERANK_{name}": value for name, value in settings.items()} | {"PYTHONUNBUFFERED": "1"}
