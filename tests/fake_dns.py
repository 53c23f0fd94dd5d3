"""A DNS server that knows a few names, and can fail to."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

_TYPES = {1: socket.AF_INET, 28: socket.AF_INET6}
_UDP_BYTES = 512
_NO_SUCH_NAME, _SERVER_FAILURE = 3, 2


class FakeDns(asyncio.DatagramProtocol):
    """One server, on UDP and TCP.

    Args:
        records: The addresses of each name it knows.
        broken: Names it answers SERVFAIL for.
        silent: First labels of names it doesn't answer for.
    """

    def __init__(
        self, records: Mapping[str, Sequence[str]], *, broken: Sequence[str] = (), silent: Sequence[str] = ()
    ) -> None:
        self.records = dict(records)
        self.asked: list[str] = []
        self._broken = broken
        self._silent = silent
        self._is_silent = False
        self._transport: asyncio.DatagramTransport

    @asynccontextmanager
    async def running(self, host: str = "127.0.0.1", port: int = 53) -> AsyncIterator["FakeDns"]:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, (host, port))
        server = await asyncio.start_server(self._serve, host, port)
        try:
            yield self
        finally:
            transport.close()
            server.close()

    def fall_silent(self) -> None:
        """Answer nothing any more."""
        self._is_silent = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's isn't derived from asyncio's.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._answer(data)
        if len(answer) > _UDP_BYTES:
            # Cut behind the question, with the flag that says so.
            answer = answer[:2] + b"\x87\x80" + data[4:6] + bytes(6) + _question(data)
        if answer:
            self._transport.sendto(answer, addr)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # The C library asks for both kinds of addresses on one connection.
            while True:
                size = struct.unpack("!H", await reader.readexactly(2))[0]
                answer = self._answer(await reader.readexactly(size))
                writer.write(struct.pack("!H", len(answer)) + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, query: bytes) -> bytes:
        """The answer to a query; empty when there shall be none."""
        question = _question(query)
        name, (kind, _) = ".".join(_labels(query)), struct.unpack("!HH", question[-4:])
        self.asked.append(name)
        if self._is_silent or name.partition(".")[0] in self._silent:
            return b""
        code = _SERVER_FAILURE if name in self._broken else 0 if name in self.records else _NO_SUCH_NAME
        family = _TYPES.get(kind)
        found = (
            [ip for ip in self.records.get(name, ()) if (":" in ip) == (family == socket.AF_INET6)] if family else []
        )
        rows = [
            # The name stands at byte 12; class IN, 30 s.
            struct.pack("!HHHIH", 0xC00C, kind, 1, 30, len(packed)) + packed
            for packed in (socket.inet_pton(family or socket.AF_INET, ip) for ip in found)
        ]
        head = query[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, len(rows), 0, 0)
        return head + question + b"".join(rows)


def _labels(query: bytes) -> Iterator[str]:
    place = 12
    while size := query[place]:
        yield query[place + 1 : place + 1 + size].decode().lower()
        place += 1 + size


def _question(query: bytes) -> bytes:
    return query[12 : query.index(b"\0", 12) + 5]
