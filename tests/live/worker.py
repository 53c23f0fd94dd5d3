"""A real vLLM server that a test may kill."""

import os
import signal
import socket
import subprocess
import time
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
    """

    def __init__(self, venv: Path, *, api_key: str, log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.name = f"127.0.0.1:{port}"
        self.url = f"http://{self.name}"
        self.api_key = api_key
        self._command = [_HERE / "run_worker.sh", venv, MODEL, str(port), "--api-key", api_key]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it if it doesn't run; returns as soon as it is ready."""
        if self._process is not None:
            return
        with self._log.open("ab") as log:
            # A session of its own, so that its engine can be killed with it.
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + _START_S
        while not self._is_ready():
            if time.monotonic() > until or self._process.poll() is not None:
                raise TimeoutError(f"no worker at {self.url}; its last words:\n{self._log.read_text()[-3000:]}")
            time.sleep(0.5)

    def kill(self) -> None:
        """What a power cut does: all its processes are gone at once."""
        if self._process is None:
            return
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_STOP_S)
        self._process = None

    def terminate(self) -> None:
        """What a rolling update does; returns when it has ended."""
        if self._process is None:
            return
        self._process.terminate()
        self._process.wait(_STOP_S)
        self._process = None

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health").is_success
        except httpx.TransportError:
            return False
