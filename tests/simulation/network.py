"""A network in memory: hosts, names and connections that a loop on a virtual clock has instead of the kernel's.

`Networked` serves what libraries ask a loop for: `getaddrinfo`, `sock_connect`, and transports over connected sockets.
All else of connecting (happy eyeballs, one address after another, streams) is asyncio's own code, or the library's.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from itertools import count
from random import Random
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from tests.simulation.connection import Connection, connect
from tests.simulation.names import AddressInfo, Name, Names
from tests.simulation.transport import SimTransport
from tests.virtual import VirtualLoop

_FOREVER = float("inf")
# Linux sends a SYN again after 1, 3, 7, 15, 31 and 63 s, and gives up at 127 s.
_SYN_PAUSES_S = (1, 2, 4, 8, 16, 32, 64)
_EPHEMERAL_PORT = 32768
# Of the executor in which asyncio looks names up, on a machine with two cores.
_RESOLVER_THREADS = 6

Factory = Callable[[], asyncio.Protocol]


class Connecting(Enum):
    """What a host does with who wants to connect."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    SILENT = "silent"


@dataclass(eq=False)
class Host:
    """One machine. What is changed here holds at once, also for open connections.

    Args:
        address: IPv4 or IPv6.
        connecting: What becomes of new connections; a port on which nobody listens refuses them in any case.
        latency_s, jitter_s: How long each piece travels: the first, and up to the second more.
        bytes_per_s: How fast bytes drip, each way of each connection; None for no limit.
        cuts: The chance that what was sent at once arrives cut, and each rest cut again.
        window_bytes: How much travels or waits to be read before the sender has to wait.
        frozen_until: Nothing arrives here or leaves before; the kernel still accepts connections.
    """

    address: str
    connecting: Connecting = Connecting.ACCEPT
    latency_s: float = 0.0002
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    cuts: float = 0.0
    window_bytes: int = 256 * 2**10
    frozen_until: float = 0.0
    _listening: dict[int, Factory] = field(default_factory=dict)
    _open: dict[int, Connection] = field(default_factory=dict)

    @property
    def connections(self) -> int:
        """Those that aren't over for both ends."""
        return len(self._open)

    def listen(self, port: int, factory: Factory) -> None:
        """Have each new connection served by a protocol of its own."""
        self._listening[port] = factory

    def freeze(self, *, until: float = _FOREVER) -> None:
        """Let nothing move until a time of the loop, or until `thaw`: a process that was stopped, a cable that was cut.

        With `connecting` SILENT it is the cable.
        """
        self.frozen_until = until

    def thaw(self) -> None:
        """Let everything move again."""
        self.frozen_until = 0.0
        for connection in self._open.values():
            for way in connection.ways:
                way.thaw()

    def reset_connections(self) -> None:
        """Break all connections for both ends, with all that travels."""
        for connection in list(self._open.values()):
            connection.client.break_down()
            connection.server.break_down()

    def stop(self) -> None:
        """End the process that listens here: its connections close, and new ones are refused until `start`."""
        self.connecting = Connecting.REFUSE
        for connection in list(self._open.values()):
            connection.server.abort()

    def start(self) -> None:
        """Take connections again."""
        self.connecting = Connecting.ACCEPT

    def is_listening(self, port: int) -> bool:
        """Whether who connects now gets through."""
        return self.connecting is Connecting.ACCEPT and port in self._listening


class SimNetwork:
    """All hosts and names.

    Args:
        loop: Whose clock goes.
        rng: Where bytes are cut, and how long they travel.
        resolver_threads: How many names are looked up at once; others wait.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, rng: Random, *, resolver_threads: int = _RESOLVER_THREADS
    ) -> None:
        # Called with the time, the place and what happens there, if somebody wants to know.
        self.tell: Callable[[float, str, str], None] | None = None
        self._loop = loop
        self._seed = rng.getrandbits(64)
        self._hosts: dict[str, Host] = {}
        self._numbers = count(1)
        self._names = Names(loop, threads=resolver_threads, tell=self._note)
        self.look_up = self._names.look_up

    @property
    def connections(self) -> int:
        """Those of all hosts that aren't over for both ends."""
        return sum(host.connections for host in self._hosts.values())

    def host(self, address: str) -> Host:
        """The machine with this address; a new one that listens nowhere if there was none."""
        return self._hosts.setdefault(address, Host(address))

    def name(self, name: str, *addresses: str) -> Name:
        """The name; with addresses, it leads there from now on."""
        found = self._names.name(name)
        if addresses:
            found.answer(*addresses)
        return found

    async def reach(self, address: str, port: int) -> None:
        """Return when the host has accepted; raises OSError as the kernel does."""
        host = self.host(address)
        for pause_s in _SYN_PAUSES_S:
            await asyncio.sleep(2 * host.latency_s)
            if host.connecting is not Connecting.SILENT:
                break
            self._note(f"{address}:{port}", "no answer to a connection")
            await asyncio.sleep(pause_s)
        else:
            raise TimeoutError(110, "Connection timed out")
        if not host.is_listening(port):
            self._note(f"{address}:{port}", "refuses a connection")
            raise ConnectionRefusedError(111, f"Connect call failed {(address, port)}")

    def join(self, address: str, port: int, protocol: asyncio.Protocol, *, quiet_fd: int) -> SimTransport:
        """The near end of a connection to a host that has accepted; the protocols hear of it in a moment."""
        host, number, loop = self.host(address), next(self._numbers), self._loop
        near, far = ("127.0.0.1", _EPHEMERAL_PORT + number % 2**14), (address, port)
        served_by = host._listening[port]()
        client = SimTransport(
            f"{number} to {address}:{port}", loop, protocol, peername=far, sockname=near, quiet_fd=quiet_fd
        )
        server = SimTransport(f"{number} from {address}:{port}", loop, served_by, peername=near, sockname=far)
        tell = self._note if self.tell else None
        # Chance of its own, so that the order in which a set is gone through changes nothing but the order.
        rng = Random(self._seed + number)
        host._open[number] = connect(
            client, server, loop=loop, rng=rng, conditions=host, tell=tell, on_end=lambda: self._end(host, number)
        )
        self._note(client.name, "connected")
        loop.call_soon(protocol.connection_made, client)
        loop.call_soon(served_by.connection_made, server)
        return client

    def _end(self, host: Host, number: int) -> None:
        connection = host._open.pop(number)
        self._note(connection.client.name, "over")

    def _note(self, where: str, what: str) -> None:
        if self.tell:
            self.tell(self._loop.time(), where, what)


class Networked(asyncio.SelectorEventLoop):
    """A loop whose network is in memory, to be mixed into one whose clock is virtual."""

    network: SimNetwork

    def use_network(self, rng: Random) -> None:
        """Have a network from now on; `rng` is as for `SimNetwork`."""
        self.network = SimNetwork(self, rng)
        self._places: WeakKeyDictionary[socket.socket, tuple[str, int]] = WeakKeyDictionary()
        self._quiet = socket.socketpair()
        self.set_task_factory(partial(_task, numbers=count()))

    async def getaddrinfo(  # type: ignore[override]  # its stub names bytes and a service's name, too
        self,
        host: str | bytes,
        port: int | str | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - its name in asyncio
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        name = host.decode() if isinstance(host, bytes) else host
        return await self.network.look_up(name, port, family, type)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Look names up in the network; whatever else is given to threads is done at once, in this one."""
        if func is socket.getaddrinfo:
            host, port, family, kind, *_ = (*args, 0, 0)
            return self.network.look_up(host, port, family, kind)
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as exc:  # noqa: BLE001 - whoever awaits it gets it
            done.set_exception(exc)
        return done

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        await self.network.reach(address[0], address[1])
        self._places[sock] = (address[0], address[1])

    def _make_socket_transport(
        self, sock: socket.socket, protocol: asyncio.Protocol, waiter: asyncio.Future[None] | None = None, **_: Any
    ) -> SimTransport:
        """The transport over a socket that `sock_connect` has connected, from where asyncio makes its own."""
        transport = self.network.join(*self._places.pop(sock), protocol, quiet_fd=self._quiet[0].fileno())
        sock.close()
        if waiter:
            self.call_soon(_set_result, waiter)
        return transport

    def _make_ssl_transport(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError("TLS isn't simulated")

    def close(self) -> None:
        super().close()
        for end in self._quiet:
            end.close()


class _Task(asyncio.Task[Any]):
    """A task whose place in a set is the same in every run."""

    number = 0

    def __hash__(self) -> int:
        return self.number


def _task(loop: asyncio.AbstractEventLoop, coroutine: Any, *, numbers: Iterator[int], **more: Any) -> _Task:
    task = _Task(coroutine, loop=loop, **more)
    task.number = next(numbers)
    return task


class SimLoop(Networked, VirtualLoop):
    """A loop on a virtual clock with a network in memory."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self.use_network(rng)


def _set_result(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
