"""Names in a simulated network: where each leads, and how looking it up fails or takes its time."""

import asyncio
import socket
from collections import deque
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from tests.simulation.wire import Tell

_LOOKUP_S = 0.001

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]]


@dataclass
class Name:
    """What a DNS name leads to.

    Args:
        addresses: In the order in which they are told.
        takes_s: How long a lookup takes. It blocks a thread for that long, whoever gives up on it.
        fails: One of socket's EAI numbers: how lookups fail, once that time is over.
    """

    addresses: tuple[str, ...] = ()
    takes_s: float = _LOOKUP_S
    fails: int | None = None

    def hang(self, seconds: float = 20.0) -> None:
        """Have lookups end as they do when no DNS server answers: after twice 5 s for each of two servers."""
        self.takes_s, self.fails = seconds, socket.EAI_AGAIN

    def answer(self, *addresses: str) -> None:
        """Have lookups end well, with these addresses."""
        self.addresses, self.takes_s, self.fails = addresses, _LOOKUP_S, None


class _Question(NamedTuple):
    host: str
    port: int
    family: int
    kind: int
    answer: asyncio.Future[list[AddressInfo]]
    has_thread: bool


class Names:
    """What names lead to, and the few threads that look them up.

    Args:
        loop: Whose clock goes.
        threads: How many names are looked up at once; others wait.
        tell: Told of each answer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, threads: int, tell: Tell) -> None:
        self._loop = loop
        self._free_threads = threads
        self._tell = tell
        self._names: dict[str, Name] = {}
        self._questions: deque[_Question] = deque()

    def name(self, name: str) -> Name:
        """The name, which leads nowhere as long as nobody says where."""
        return self._names.setdefault(name, Name())

    def look_up(
        self, host: str, port: int | str | None, family: int = 0, kind: int = 0, *, has_thread: bool = False
    ) -> asyncio.Future[list[AddressInfo]]:
        """What `socket.getaddrinfo` returns or raises, when a thread has got round to it.

        Args:
            host, port, family, kind: As there; `kind` is the type of socket.
            has_thread: Whether this lookup has a thread of its own.
        """
        answer: asyncio.Future[list[AddressInfo]] = self._loop.create_future()
        question = _Question(host, int(port or 0), family, kind, answer, has_thread)
        if has_thread:
            self._take_up(question)
        else:
            self._questions.append(question)
            self._begin()
        return answer

    def _begin(self) -> None:
        while self._questions and self._free_threads:
            question = self._questions.popleft()
            # What nobody waits for any more, no thread takes up.
            if not question.answer.cancelled():
                self._free_threads -= 1
                self._take_up(question)

    def _take_up(self, question: _Question) -> None:
        known = self._names.get(question.host)
        self._loop.call_later(known.takes_s if known else _LOOKUP_S, self._end, question)

    def _end(self, question: _Question) -> None:
        self._free_threads += not question.has_thread
        if not question.answer.done():
            try:
                question.answer.set_result(self._addresses(question))
            except OSError as exc:
                question.answer.set_exception(exc)
                # Whoever asked may have given up without cancelling, as behind asyncio.shield.
                question.answer.exception()
        self._begin()

    def _addresses(self, question: _Question) -> list[AddressInfo]:
        host, port, family, kind, *_ = question
        known = self._names.get(host) or Name((host,) if _is_address(host) else ())
        found = [
            _info(address, port, kind)
            for address in known.addresses
            if family in {0, socket.AF_INET6 if ":" in address else socket.AF_INET}
        ]
        fails = known.fails or (None if found else socket.EAI_NONAME)
        self._tell(host, f"EAI {fails}" if fails else " ".join(known.addresses))
        if fails:
            raise socket.gaierror(fails, _EAI.get(fails, "it failed"))
        return found


_EAI = {
    socket.EAI_NONAME: "Name or service not known",
    socket.EAI_AGAIN: "Temporary failure in name resolution",
    socket.EAI_NODATA: "No address associated with hostname",
}


def _info(address: str, port: int, kind: int) -> AddressInfo:
    stream = socket.SocketKind(kind or socket.SOCK_STREAM)
    if ":" in address:
        return socket.AF_INET6, stream, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, stream, socket.IPPROTO_TCP, "", (address, port)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
