"""Shell commands as a user of a fresh clone types them."""

import asyncio
import os
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.documents import ROOT
from tests.integration.commands import free_port

_NOT_CLONED = shutil.ignore_patterns(
    ".git", ".venv*", ".vllm", ".clients", ".*_cache", ".hypothesis", "__pycache__", "dist"
)
# Without these curl would call the answer to a refused request a success, and wait for ever.
_CURLRC = "fail\nsilent\nshow-error\nmax-time = 20\n"


def clone(folder: Path) -> Path:
    """A copy of the tree in `folder`, installed as `make install` does it."""
    copy = folder / "clone"
    shutil.copytree(ROOT, copy, ignore=_NOT_CLONED)
    (copy / ".venv").symlink_to(sys.prefix)
    return copy


@asynccontextmanager
async def shell(command: str, copy: Path, **environment: str) -> AsyncIterator[Process]:
    """A shell that runs `command` in `copy`; whatever it has started ends with the block, as by Ctrl-C."""
    home = copy.parent
    (home / ".curlrc").write_text(_CURLRC)
    given = {"HOME": str(home), "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}", "PYTHONPATH": str(copy)}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", command),
        cwd=copy,
        env=os.environ | given | {"RERANK_DRAIN_S": "0"} | environment,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        await _stop(process)


async def to_its_end(command: str, copy: Path) -> None:
    """Run `command`, which has to succeed."""
    async with shell(command, copy) as process, asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()


async def until_it_serves(command: str, copy: Path) -> None:
    """Run `command` until it serves with a worker it can use, then stop it."""
    port = free_port()
    async with (
        shell(command, copy, RERANK_PORT=str(port)) as process,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
        asyncio.timeout(60),
    ):
        while process.returncode is None:
            with suppress(httpx.TransportError):
                if (await client.get("/readyz")).is_success:
                    return
            await asyncio.sleep(0.05)
        assert process.stdout
        pytest.fail((await process.stdout.read()).decode())


async def _stop(process: Process) -> None:
    try:
        os.killpg(process.pid, signal.SIGINT)
        async with asyncio.timeout(15):
            await process.communicate()
    except ProcessLookupError:
        await process.wait()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
