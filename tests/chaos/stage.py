"""Gateways and workers as processes on loopback, and what they say about themselves."""

import asyncio
import json
import os
import random
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from itertools import cycle
from pathlib import Path

import aiohttp

from tests.chaos.worker import Order

FIXED_S = 0.004
PER_DOCUMENT_S = 0.001
_REPOSITORY = Path(__file__).parents[2]
_PATIENCE_S = 45.0
# Below the range from which the kernel takes the ports of outgoing connections.
_PORTS = range(20_000, 32_000)
# What was allocated for a burst and is kept for the next one.
_MEMORY_BYTES = 64 * 2**20
_ATTEMPTS = "rerank_attempts_total{"
_IDLE = (
    "rerank_pending_documents",
    "rerank_inflight_pairs",
    "rerank_queue_chunks",
    "rerank_worker_calls",
    "rerank_worker_documents",
)


class _Child:
    """A Python process of ours; it ends with its stdin."""

    # What gateways log goes where the tests' own errors go: a pipe that nobody reads would fill up.
    _stdout = sys.__stderr__.fileno() if sys.__stderr__ else DEVNULL

    def __init__(self, *command: str) -> None:
        self._place = _reserved()
        self.port: int = self._place.getsockname()[1]
        self._command = command
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        assert self._process, "it was not started"
        return self._process

    async def start(self, *more: str, **settings: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RERANK_")} | settings
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *self._command,
            *more,
            cwd=_REPOSITORY,
            env=environment,
            stdin=PIPE,
            stdout=self._stdout,
        )

    async def kill(self) -> None:
        if self._process and self._process.returncode is None:
            self._process.kill()
        if self._process and self._process.stdin:
            self._process.stdin.close()
            await self._process.wait()

    def give_up(self) -> None:
        """It won't be started again."""
        self._place.close()


class WorkerProcess(_Child):
    """A fake vLLM that takes orders."""

    _stdout = PIPE

    def __init__(self) -> None:
        super().__init__("tests.chaos.worker")
        self.name = f"127.0.0.1:{self.port}"

    async def begin(self) -> None:
        """Start it, and return when it serves."""
        await self.start(str(self.port), str(FIXED_S), str(PER_DOCUMENT_S))
        await self.obey(Order())

    async def obey(self, order: Order) -> None:
        """Return when the order holds."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        async with asyncio.timeout(_PATIENCE_S):
            assert await self.process.stdout.readline()


class GatewayProcess(_Child):
    """A gateway over `workers`."""

    def __init__(self, session: aiohttp.ClientSession, workers: list[WorkerProcess], **settings: str) -> None:
        super().__init__("tests.chaos.gateway", "serve")
        self.url = f"http://127.0.0.1:{self.port}"
        self.is_hedging = settings.get("RERANK_HEDGE") == "on"
        self.idle_tasks = 0.0
        self.idle_bytes = 0.0
        self._session = session
        self._workers = [worker.name for worker in workers]
        self._settings = settings | {
            "RERANK_PORT": str(self.port),
            "RERANK_WORKERS": ",".join(f"http://{name}" for name in self._workers),
            "RERANK_LOG_LEVEL": "error",
        }

    async def begin(self) -> None:
        """Start it, and return when all its workers are usable."""
        await self.start(**self._settings)
        await _until(self._is_complete)

    async def end(self) -> int:
        """Ask it to stop as Kubernetes does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_PATIENCE_S):
            await self.process.wait()
        await self.kill()
        return self.process.returncode or 0

    async def is_ready(self) -> bool:
        try:
            async with self._session.get(f"{self.url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def _is_complete(self) -> bool:
        return await self.is_ready() and len(await self.usable()) == len(self._workers)

    async def metrics(self) -> Mapping[str, float]:
        async with self._session.get(f"{self.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    async def usable(self) -> set[str]:
        """The names of the workers it would give work."""
        metrics = await self.metrics()
        return {name for name in self._workers if metrics[f'rerank_worker_usable{{worker="{name}"}}']}

    async def failed_calls(self) -> int:
        """Calls to workers, so far, that didn't end in an answer of use."""
        metrics = await self.metrics()
        return int(sum(n for name, n in metrics.items() if name.startswith(_ATTEMPTS) and 'outcome="ok"' not in name))

    async def remember_idle(self) -> None:
        """Take what it is now as its idle state."""
        metrics = await self.metrics()
        self.idle_tasks, self.idle_bytes = metrics["rerank_tasks"], metrics["process_resident_memory_bytes"]

    async def settle(self) -> None:
        """Return when nothing is in flight and nothing was left behind.

        Raises:
            AssertionError: something is left for good.
        """
        left: Mapping[str, float] = {}
        for _ in range(200):
            metrics = await self.metrics()
            left = {name: value for name, value in metrics.items() if name.startswith(_IDLE) and value}
            if metrics["rerank_tasks"] > self.idle_tasks:
                left = {**left, "rerank_tasks": metrics["rerank_tasks"]}
            if not left:
                break
            await asyncio.sleep(0.05)
        # What is remembered is meant to stay.
        grown = metrics["process_resident_memory_bytes"] - metrics["rerank_cache_bytes"] - self.idle_bytes
        assert not left, f"left behind, with {self.idle_tasks} tasks when idle: {left}"
        assert grown < _MEMORY_BYTES, f"grew by {grown / 2**20:.0f} MiB"


class Stage:
    """What faults play on. Workers are hit in turn."""

    def __init__(
        self, session: aiohttp.ClientSession, workers: list[WorkerProcess], gateways: list[GatewayProcess]
    ) -> None:
        self.session = session
        self.workers = workers
        self.gateways = gateways
        self._turns = cycle(workers)

    async def victim(self) -> WorkerProcess:
        """A worker that is well, while at most one other isn't yet back from its own turn."""
        await _until(self._is_nearly_complete)
        well = await self._well()
        return next(worker for worker in self._turns if worker.name in well)

    async def _is_nearly_complete(self) -> bool:
        return len(await self._well()) >= len(self.workers) - 1

    async def _well(self) -> set[str]:
        return set.intersection(*[await gateway.usable() for gateway in self.gateways])


@asynccontextmanager
async def set_up(*, workers: int, gateways: list[dict[str, str]]) -> AsyncIterator[Stage]:
    """Processes that serve until the end of the block, whatever happens in it.

    Args:
        workers: How many.
        gateways: The settings of each gateway.
    """
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        made = [WorkerProcess() for _ in range(workers)]
        serving = [GatewayProcess(session, made, **settings) for settings in gateways]
        async with started(*made, *serving):
            yield Stage(session, made, serving)


@asynccontextmanager
async def started(*children: WorkerProcess | GatewayProcess) -> AsyncIterator[None]:
    """The processes serve when the block begins, and are gone when it ends."""
    try:
        await asyncio.gather(*[child.begin() for child in children])
        yield
    finally:
        await asyncio.gather(*[child.kill() for child in children])
        for child in children:
            child.give_up()


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not await holds():  # noqa: ASYNC110 - another process tells only when asked
            await asyncio.sleep(0.05)


def _reserved() -> socket.socket:
    """A port that nobody else gets as long as this is open; who allows reuse may listen on it."""
    for port in random.sample(_PORTS, 100):
        place = socket.socket()
        try:
            place.bind(("127.0.0.1", port))
        except OSError:
            place.close()
            continue
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return place
    raise OSError("no free port on 127.0.0.1")
