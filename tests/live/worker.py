"""A real vLLM server that a test may kill."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx

_HERE = Path(__file__).parent.resolve() / "vllm"
MODEL = _HERE / "model-tiny-reranker"
# 30 s on a quiet machine; the tests share theirs with two other workers.
_START_S = 240
_STOP_S = 30


class OwnWorker:
    """One server, always at the same port: what comes back there is the same worker.

    Args:
        venv: Where vLLM is installed.
        api_key: The server's `--api-key`.
        log: Where its output goes.
        dtype: The precision it computes in.
        model: The folder it serves.
        flags: Further flags of `vllm serve`.
    """

    def __init__(
        self,
        venv: Path,
        *,
        api_key: str,
        log: Path,
        dtype: str = "float32",
        model: Path = MODEL,
        flags: Sequence[str] = (),
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.name = f"127.0.0.1:{port}"
        self.url = f"http://{self.name}"
        self.api_key = api_key
        # Without a --shutdown-timeout, vLLM 0.32.0 often ends its engine on SIGTERM, but neither answers the calls in
        # computation nor exits: 7 of 13 tries, and none of 26 with it.
        own = ["--api-key", api_key, "--shutdown-timeout", "20", "--dtype", dtype]
        self._command: list[str | Path] = [_HERE / "run_worker.sh", venv, model, str(port), *own, *flags]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it if it doesn't run; returns as soon as it is ready."""
        if self._process is not None:
            return
        self._process = self._spawn()
        async with httpx.AsyncClient(base_url=self.url) as client:
            for _ in range(_START_S * 2):
                if await _is_ready(client):
                    return
                if self._process.poll() is not None:
                    break
                await asyncio.sleep(0.5)
        raise TimeoutError(f"no worker at {self.url}; its last words:\n{self._log.read_text()[-3000:]}")

    def kill(self) -> None:
        """What a power cut does: all its processes are gone at once."""
        if self._process is None:
            return
        # A stop that was cancelled has left none.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_STOP_S)
        self._process = None

    async def stop(self) -> None:
        """What a rolling update does; returns when it has ended."""
        if self._process is None:
            return
        self._process.terminate()
        await asyncio.to_thread(self._process.wait, _STOP_S)
        self._process = None

    def _spawn(self) -> subprocess.Popen[bytes]:
        # A process group of its own, so that its engine can be killed with it: alone, vLLM leaves that behind.
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health")).is_success
    except httpx.TransportError:
        return False
