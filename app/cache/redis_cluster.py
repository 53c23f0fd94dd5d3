"""The Redis cluster: one connection to each primary, and each key asked for where its slot is."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError
from redis.exceptions import ConnectionError as ConnectionLost

from app.aio import until_one_ends
from app.cache.redis_connection import Command, RedisConnection, fail
from app.cache.write_queue import Entry

# The first slot, the last one, and the address of the primary that has them.
SlotRange = tuple[int, int, str]


class RedisCluster:
    """Sends commands as a `RedisConnection` does, to the primaries of a cluster, and fails when one of them does.

    Keys of several slots can't be in one command, even where they are of one node: those of a lookup or of a write
    are sent one by one, all at once. A key whose slot is moving isn't followed there: it isn't found, or not kept.

    Args:
        nodes: The open connection to each primary, by its address.
        slots: Who has which.
    """

    def __init__(self, nodes: Mapping[str, RedisConnection], slots: Iterable[SlotRange]) -> None:
        self._nodes = nodes
        self._slots: list[RedisConnection | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, address in slots:
            self._slots[first : last + 1] = [nodes[address]] * (last + 1 - first)
        self._failure: asyncio.Future[NoReturn] = asyncio.get_running_loop().create_future()

    @property
    def servers(self) -> int:
        """The number of primaries."""
        return len(self._nodes)

    def report_failure(self, reason: Exception) -> None:
        """Report that the cluster doesn't work, though no connection is lost."""
        fail(self._failure, reason)

    async def until_failure(self) -> NoReturn:
        """Wait until `report_failure` is called, and raise its reason."""
        await self._failure

    async def read(self) -> NoReturn:
        """Hand out the answers, until a connection is lost.

        Raises:
            RedisError: it was lost.
        """
        await until_one_ends(*(node.read() for node in self._nodes.values()))

    async def ask(self, name: str, key: bytes, *arguments: bytes | str | int) -> Any:
        """The answer to a command about one key, wherever it has moved.

        Raises:
            ResponseError: the server refused it.
            RedisError: a connection is lost.
        """
        node = self._slots[key_slot(key)]
        if node is None:
            raise ClusterDownError("the slot of a key belongs to nobody")
        try:
            return await node.ask(name, key, *arguments)
        except AskError as exc:
            self._learn_from(exc)
            there = self._nodes.get(_address_in(exc))
            if there is None:
                raise ConnectionLost("a slot moved to a server that isn't connected") from exc
        _, answer = await there.send_all([("ASKING",), (name, key, *arguments)])
        return await answer

    def get_all(self, keys: Sequence[bytes]) -> Awaitable[asyncio.Future[Any]]:
        """Ask for the values of keys. Returns the future of a list, with None for what isn't found."""
        return self._send_each(keys, [("GET", key) for key in keys])

    async def set_all(self, entries: Sequence[Entry], *, ttl_s: int) -> None:
        """Keep the entries for `ttl_s`."""
        commands: Sequence[Command] = [("SET", key, value, "EX", ttl_s) for key, value in entries]
        await (await self._send_each([key for key, _ in entries], commands))

    async def _send_each(self, keys: Sequence[bytes], commands: Sequence[Command]) -> asyncio.Future[Any]:
        """Send the command about each key. Returns the future of all their answers, in their order."""
        by_node: defaultdict[RedisConnection, list[int]] = defaultdict(list)
        for place, key in enumerate(keys):
            if node := self._slots[key_slot(key)]:
                by_node[node].append(place)
        answers: list[asyncio.Future[Any] | None] = [None] * len(commands)
        last_of_each = []
        for node, places in by_node.items():
            sent = await node.send_all([commands[place] for place in places])
            for place, answer in zip(places, sent, strict=True):
                answers[place] = answer
            last_of_each.append(sent[-1])
        whole: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def settle(_: object = None) -> None:
            # A node answers in order: when its last answer is there, all are.
            if whole.done() or not all(last.done() for last in last_of_each):
                return
            try:
                whole.set_result([self._value_in(answer) for answer in answers])
            except RedisError as exc:
                fail(whole, exc)

        for last in last_of_each:
            last.add_done_callback(settle)
        settle()
        return whole

    def _value_in(self, answer: asyncio.Future[Any] | None) -> Any:
        if answer is None:
            return None
        if isinstance(moved := answer.exception(), AskError):
            self._learn_from(moved)
            return None
        return answer.result()

    def _learn_from(self, moved: AskError) -> None:
        """Note where a slot is from now on; one that is still moving (ASK) stays where it is."""
        if not isinstance(moved, MovedError):
            return
        if node := self._nodes.get(_address_in(moved)):
            self._slots[moved.slot_id] = node
        else:
            # A replica that took over, or a new node: who is a primary has to be asked for anew.
            self.report_failure(ConnectionLost("slots moved to a server that isn't connected"))


def _address_in(moved: AskError) -> str:
    host, port = moved.node_addr
    return address_of(host, port)


def address_of(host: str, port: int) -> str:
    """The address as it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
