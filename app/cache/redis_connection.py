"""The Redis connection: one that all commands of a process share, so that none waits for a free one.

How redis-py opens its socket is replaced, and that is an inside of it (`_connect` and `_connection_arguments`). So
pyproject.toml bounds its version from above; tests/cache/test_redis_tier.py fails when they change.
"""

import asyncio
import math
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import InvalidResponse, ResponseError

from app.cache.write_queue import Entry
from app.net.dialer import Dialer

Command = tuple[bytes | str | int, ...]
# One SET per pair costs the client 9 us, this script 1 us.
_SET_ALL = "for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[i + 1], 'EX', ARGV[1]) end"


def connection_to(url: str) -> AbstractConnection:
    """The connection that `url` describes, not yet open; it can be opened again and again.

    RESP2: all that RESP3 adds is that a server may speak unasked, and ask its clients to move elsewhere.
    """
    pool = ConnectionPool.from_url(
        url,
        protocol=2,
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        driver_info=None,
    )
    if issubclass(pool.connection_class, Connection):
        pool.connection_class = _DialedTls if issubclass(pool.connection_class, SSLConnection) else _Dialed
    connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]  # untyped in the library
    return connection


class _Dialed(Connection):
    """A connection whose socket comes from a `Dialer`: the library would have the loop look the host up."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._dialer = Dialer(self.host, self.port)
        self._dialed: socket.socket | None = None

    async def _connect(self) -> None:
        self._dialed = await self._dialer.connect()
        await super()._connect()  # type: ignore[no-untyped-call]  # untyped in the library

    def _connection_arguments(self) -> Mapping[str, Any]:
        # What the library gives to `asyncio.open_connection`.
        return {"sock": self._dialed}


class _DialedTls(_Dialed, SSLConnection):
    """A `_Dialed` connection with TLS, which checks the certificate for the host's name."""

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "ssl": self.ssl_context.get(), "server_hostname": self.host}


class RedisConnection:
    """Sends commands, and hands out answers in the same order.

    An answer that comes too late is thrown away when its turn comes, and never taken for the next command's.

    Args:
        connection: An open one; once lost, it isn't opened again.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._failure: asyncio.Future[NoReturn] = asyncio.get_running_loop().create_future()

    @property
    def servers(self) -> int:
        """The number of servers that it leads to, as a cluster has several."""
        return 1

    def report_failure(self, reason: Exception) -> None:
        """Report that the connection doesn't work, though it isn't lost."""
        fail(self._failure, reason)

    async def until_failure(self) -> NoReturn:
        """Wait until `report_failure` is called, and raise its reason."""
        await self._failure

    async def send_all(self, commands: Sequence[Command]) -> Sequence[asyncio.Future[Any]]:
        """Send commands. Returns the futures of their answers, which may fail with the errors of `ask`.

        Raises:
            RedisError: the connection is lost.
        """
        if not self._connection.is_connected:
            # The library would open it again, and no task would read from it.
            raise ConnectionLost("the connection was lost")
        loop = asyncio.get_running_loop()
        answers = [loop.create_future() for _ in commands]
        self._waiting += answers
        # The library packs in Python, which takes ten times as long.
        packed = b"".join(map(pack_command, commands))  # type: ignore[arg-type]  # its stub asks for a tuple of one
        try:
            await self._connection.send_packed_command(packed, check_health=False)
        except RuntimeError as exc:
            # What uvloop says of a connection that was reset a moment ago.
            raise ConnectionLost("the connection was lost") from exc
        return answers

    async def ask(self, *command: bytes | str | int) -> Any:
        """The answer to a command.

        Raises:
            ResponseError: the server refused it.
            RedisError: the connection is lost.
        """
        (answer,) = await self.send_all([command])
        return await answer

    async def get_all(self, keys: Sequence[bytes]) -> asyncio.Future[Any]:
        """Ask for the values of keys. Returns the future of a list, with None for what isn't found."""
        (answer,) = await self.send_all([("MGET", *keys)])
        return answer

    async def set_all(self, entries: Sequence[Entry], *, ttl_s: int) -> None:
        """Keep the entries for `ttl_s`."""
        keys, values = zip(*entries, strict=True)
        await self.ask("EVAL", _SET_ALL, len(keys), *keys, ttl_s, *values)

    async def read(self) -> NoReturn:
        """Hand out the answers, until the connection is lost.

        Raises:
            RedisError: it was lost.
        """
        try:
            while True:
                await self._read_one()
        finally:
            for answer in self._waiting:
                fail(answer, ConnectionLost("the connection was lost"))

    async def _read_one(self) -> None:
        value: object
        try:
            # Without a limit, which would also limit how long the connection may be idle.
            value = await self._connection.read_response(disable_decoding=True, timeout=math.inf)
        except ResponseError as exc:
            value = exc
        if not self._waiting:
            raise InvalidResponse("it answered without being asked")
        answer = self._waiting.popleft()
        if isinstance(value, ResponseError):
            fail(answer, value)
        elif not answer.done():
            answer.set_result(value)


def fail(answer: asyncio.Future[Any], error: Exception) -> None:
    """End a future with an error, unless it has ended."""
    if not answer.done():
        answer.set_exception(error)
        # Without a waiter, asyncio would report an exception that was never retrieved.
        answer.exception()
