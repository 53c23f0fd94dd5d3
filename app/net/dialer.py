"""Connections to a host by its name: a lookup that hangs holds up no other, and no dead address hides a live one."""

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread

from aiohappyeyeballs import AddrInfoType, start_connection

# RFC 8305, section 5: how long an address has for itself before the next is tried beside it.
_NEXT_ADDRESS_AFTER_S = 0.25
# A name server that answers at all does so in milliseconds; the system asks a silent one again after 5 s.
_USUAL_LOOKUP_S = 0.5
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})


def look_up(host: str, port: int | None = None) -> asyncio.Future[Sequence[AddrInfoType]]:
    """The addresses of a name, as the system's resolver finds them, by a thread that ends with the lookup.

    All the system has is a call that blocks until the name servers answer or are given up, up to 30 s each time. An
    event loop makes such calls on a few threads: those of uvloop are 4, of which lookups get 2. So two names whose
    servers are silent would keep all others from being looked up.

    Returns:
        A future; it fails with OSError when no name server could say, and with one for which `is_no_such_name` holds
        when there is no such name.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Sequence[AddrInfoType]] = loop.create_future()
    with suppress(OSError, ValueError):
        # An address needs no thread.
        found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
        return found

    def run() -> None:
        outcome: Sequence[AddrInfoType] | OSError
        try:
            outcome = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as exc:
            outcome = _out_of_files() or exc
        except ValueError as exc:
            # No DNS name looks like this, such as one with an empty label.
            outcome = socket.gaierror(socket.EAI_NONAME, str(exc))
        # The loop may have been closed meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, found, outcome)

    try:
        # A daemon thread doesn't hold up the end of the process; a lookup can't be cancelled.
        Thread(target=run, name=f"look up {host}", daemon=True).start()
    except RuntimeError as exc:
        _settle(found, OSError(errno.EAGAIN, f"no thread could be started: {exc}"))
    return found


def is_no_such_name(error: OSError) -> bool:
    """True when a failed lookup found that there is no such name, or no address behind it."""
    return isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_NAME


class Dialer:
    """The dialer of one host, whose name is looked up for each connection, but only once at a time.

    While its name servers are silent or fail, the addresses stay in use that were found last. So there are never more
    threads for lookups than hosts, and a failing name server takes away no host that was ever found.

    Args:
        host: Name or address.
        port: The port it listens on.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._lookup: asyncio.Future[Sequence[AddrInfoType]] | None = None
        self._known: Sequence[AddrInfoType] = ()
        self._known_enough_at = 0.0

    @property
    def awaits_name_server(self) -> bool:
        """True while there is no address to try until a name server answers."""
        return self._lookup is not None and not self._lookup.done() and not self._known

    async def connect(self) -> socket.socket:
        """A connected TCP socket, by the address that answers first (RFC 8305, "Happy Eyeballs").

        Raises:
            OSError: the name can't be looked up, or no address accepts a connection.
        """
        addresses = await self._addresses()
        try:
            return await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_AFTER_S)
        except RuntimeError as exc:
            # What uvloop says of some sockets that can't be connected.
            raise OSError(str(exc)) from exc

    async def _addresses(self) -> Sequence[AddrInfoType]:
        loop = asyncio.get_running_loop()
        if self._lookup is None or self._lookup.done():
            self._lookup = look_up(self._host, self._port)
            self._known_enough_at = loop.time() + _USUAL_LOOKUP_S
        try:
            async with asyncio.timeout_at(self._known_enough_at if self._known else None):
                # Others may wait for it, too.
                self._known = await asyncio.shield(self._lookup)
        except OSError as exc:
            if not self._known or is_no_such_name(exc):
                raise
        return self._known


def _out_of_files() -> OSError | None:
    """The error when this process may open no file; a C library that could ask nobody for that reason hides it."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as exc:
        return exc
    return None


def _settle(found: asyncio.Future[Sequence[AddrInfoType]], outcome: Sequence[AddrInfoType] | OSError) -> None:
    if found.done():
        return
    if isinstance(outcome, OSError):
        found.set_exception(outcome)
        # Without a waiter, asyncio would report an exception that was never retrieved.
        found.exception()
    else:
        found.set_result(outcome)
