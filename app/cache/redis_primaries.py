"""The Redis primaries: finds the servers that a URL leads to, and keeps a connection to each open.

Who is a primary is asked for anew with every try: a failover costs hits for its time, and no request waits for it.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError

from app.cache.redis_cluster import RedisCluster, SlotRange, address_of
from app.cache.redis_connection import RedisConnection, connection_to
from app.settings.redis_url import RedisUrl, parse_redis_url

_Found = TypeVar("_Found")


class RedisPrimaries:
    """Connects to one server, to the primary that sentinels name, or to all primaries of a cluster.

    Args:
        url: redis://, rediss:// or unix://; with +sentinel or +cluster behind redis or rediss, and several hosts.
    """

    def __init__(self, url: str) -> None:
        self._url = parse_redis_url(url)
        self._asked = [connection_to(one) for one in _urls_to_ask(self._url)]
        # They know the addresses that their names had.
        self._connections = {} if self._url.kind else {"": connection_to(url)}
        self.password = self._url.password

    @asynccontextmanager
    async def connected(self, *, within_s: float) -> AsyncIterator[RedisConnection | RedisCluster]:
        """Be connected during the block, after at most `within_s`."""
        try:
            async with asyncio.timeout(within_s):
                redis = await self._connect(within_s)
            yield redis
        finally:
            for connection in self._connections.values():
                # Waiting for it to be closed would be waiting for a server that may hang.
                await connection.disconnect(nowait=True)

    async def _connect(self, within_s: float) -> RedisConnection | RedisCluster:
        if not self._url.kind:
            (connection,) = self._connections.values()
            await connection.connect()  # type: ignore[no-untyped-call]  # untyped in the library
            return RedisConnection(connection)
        each_s = within_s / (len(self._asked) + 1)
        if self._url.kind == "cluster":
            slots = await self._first_answer(_slots_in, "CLUSTER", "SLOTS", each_s=each_s)
            await self._open({address for *_, address in slots})
            return RedisCluster({name: RedisConnection(one) for name, one in self._connections.items()}, slots)
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.primary)
        await self._open({await self._first_answer(_primary_in, *question, each_s=each_s)})
        (connection,) = self._connections.values()
        if (await _answer(connection, "ROLE"))[0] != b"master":
            # In the middle of a failover, when it isn't told yet.
            raise ConnectionLost("what the sentinels call the primary is a replica")
        return RedisConnection(connection)

    async def _open(self, addresses: set[str]) -> None:
        """Connect to the addresses, and forget others."""
        known = self._connections
        self._connections = {
            address: known.get(address) or connection_to(self._url.to(address)) for address in addresses
        }
        opening = [one.connect() for one in self._connections.values()]  # type: ignore[no-untyped-call]  # untyped there
        for outcome in await asyncio.gather(*opening, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _first_answer(self, read: Callable[[Any, str], _Found], *question: str, each_s: float) -> _Found:
        """What one of the servers of the URL says, in an order by chance: the first may be cut off from the others."""
        failure: Exception = ConnectionLost("none was asked")
        for connection in random.sample(self._asked, len(self._asked)):
            try:
                async with asyncio.timeout(each_s):
                    await connection.connect()  # type: ignore[no-untyped-call]  # untyped in the library
                    return read(await _answer(connection, *question), str(getattr(connection, "host", "")))
            except (RedisError, OSError, ValueError) as exc:
                failure = exc
            finally:
                await connection.disconnect(nowait=True)
        raise failure


def _urls_to_ask(url: RedisUrl) -> Sequence[str]:
    if url.kind == "sentinel":
        return url.to_sentinels()
    return [url.to(address) for address in url.addresses] if url.kind else ()


async def _answer(connection: AbstractConnection, *command: str) -> Any:
    await connection.send_command(*command)
    return await connection.read_response(disable_decoding=True)


def _primary_in(answer: Any, _: str) -> str:
    try:
        host, port = answer
        return address_of(host.decode(), int(port))
    except (TypeError, ValueError, AttributeError) as exc:
        raise ValueError("a sentinel knows no primary of this name") from exc


def _slots_in(answer: Any, asked: str) -> Sequence[SlotRange]:
    """The slots of a cluster. A server that doesn't know its own host leaves it out: it is the one `asked`."""
    try:
        slots = [
            (int(first), int(last), address_of(primary[0].decode() if primary[0] else asked, int(primary[1])))
            for first, last, primary, *_ in answer
        ]
    except (TypeError, ValueError, AttributeError, IndexError) as exc:
        raise ValueError("it answered the question about slots with something else") from exc
    if not slots:
        raise ValueError("the cluster has no slots yet")
    return slots
