"""Somebody between a gateway and its Redis: counts the questions, is slow, and gives what answers a test wants."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import hiredis

from tests.listening import listening

# What is answered instead: it gets the command and the right answer, both as they are sent.
Alter = Callable[[list[bytes], bytes], bytes]


@dataclass
class Middleman:
    """A proxy of one server that knows where questions and answers end.

    Answers take `delay_s` longer, which doesn't keep the next question from being read.
    """

    behind: int
    delay_s: float = 0.0
    alter: Alter | None = None
    asked: list[list[bytes]] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    @asynccontextmanager
    async def running(self, context: ssl.SSLContext | None = None) -> AsyncIterator["Middleman"]:
        async with listening(self._serve, tls=context) as port:
            self.url = f"{'rediss' if context else 'redis'}://127.0.0.1:{port}"
            yield self

    def count(self, name: bytes) -> int:
        return sum(command[0] == name for command in self.asked)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self.behind)
        answers: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        sending = asyncio.create_task(_send(answers, writer))
        commands = hiredis.Reader()
        try:
            while received := await reader.read(2**16):
                commands.feed(received)
                while (command := commands.gets()) is not False:
                    self.asked.append(command)
                    behind_writer.write(hiredis.pack_command(tuple(command)))
                    right = await _whole_answer(behind_reader)
                    due = asyncio.get_running_loop().time() + self.delay_s
                    answers.put_nowait((due, self.alter(command, right) if self.alter else right))
        except OSError:
            pass
        finally:
            sending.cancel()
            writer.close()
            behind_writer.close()


async def _send(answers: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
    while True:
        due, answer = await answers.get()
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        writer.write(answer)


async def _whole_answer(reader: asyncio.StreamReader) -> bytes:
    answers, received = hiredis.Reader(), b""
    while answers.gets() is False:
        if not (more := await reader.read(2**16)):
            raise ConnectionResetError
        received += more
        answers.feed(more)
    return received
