"""A socket on loopback that serves until the end of a block, whatever its connections are doing then."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(
    serve: Serve, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """The port where each connection is served by a task of its own; what is left at the end is ended and closed."""
    tasks: set[asyncio.Future[None]] = set()
    writers: set[asyncio.StreamWriter] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, host, port, limit=2**26, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await _stop_accepting(server)
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A task that is cancelled before its first step closes nothing.
        for writer in writers:
            writer.close()


async def _stop_accepting(server: asyncio.Server) -> None:
    """Accept no more, and tell of what was accepted, which CPython loses if the server is closed first."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, asyncio.SelectorEventLoop):
        for listener in server.sockets:
            loop.remove_reader(listener.fileno())
        for _ in range(5):
            await asyncio.sleep(0)


@contextmanager
def dead_port(host: str, port: int = 0) -> Iterator[int]:
    """A port that answers no attempt to connect, as on a host that is down: its queue of new connections is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind((host, port))
        server.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0)
            filler.connect_ex(server.getsockname())
        yield server.getsockname()[1]


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port that refuses all connections until the end of the block: it is taken, so nobody else listens there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
