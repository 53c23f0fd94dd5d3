"""Several Valkeys that belong together: a cluster, and a primary with the sentinels that watch it."""

import asyncio
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from redis.crc import key_slot

from tests.cache.valkey import BINARY, Valkey, valkey
from tests.integration.commands import free_port
from tests.waiting import until_it

_SLOTS = 16384
# Whom sentinels don't know.
_USER = "gateway"


@dataclass
class Cluster:
    """Primaries, which share the slots evenly, and as many replicas."""

    primaries: Sequence[Valkey]
    replicas: Sequence[Valkey]

    @property
    def url(self) -> str:
        nodes = [*self.primaries, *self.replicas]
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)

    def owner(self, key: bytes) -> Valkey:
        """The primary that had the slot of a key in the beginning."""
        return self.primaries[key_slot(key) * len(self.primaries) // _SLOTS]

    async def keys(self) -> list[bytes]:
        """The keys of pairs on all primaries."""
        return [key for node in self.primaries for key in await node.keys()]

    async def until_keys(self, count: int) -> None:
        async def are_there() -> bool:
            return len(await self.keys()) == count

        await until_it(are_there)

    async def begin_to_move(self, key: bytes) -> Valkey:
        """Leave the slot of a key between its node and another, the keys in it already moved. Returns the other."""
        slot, source = key_slot(key), self.owner(key)
        target = next(node for node in self.primaries if node is not source)
        await target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", await source.ask("CLUSTER", "MYID"))
        await source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", await target.ask("CLUSTER", "MYID"))
        keys = await source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1000)
        assert await source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys) == b"OK"
        return target

    async def finish_move(self, key: bytes, target: Valkey) -> None:
        """Have every primary know who has the slot of a key now."""
        name = await target.ask("CLUSTER", "MYID")
        for node in [target, *self.primaries]:
            assert await node.ask("CLUSTER", "SETSLOT", key_slot(key), "NODE", name) == b"OK"


@asynccontextmanager
async def cluster(folder: Path, *, primaries: int = 3, has_replicas: bool = False) -> AsyncIterator[Cluster]:
    """A running cluster, which is gone after the block whatever state it is in."""
    async with AsyncExitStack() as stack:
        nodes, buses = [], []
        for number in range(primaries * (2 if has_replicas else 1)):
            own = folder / str(number)
            own.mkdir()
            buses.append(free_port())
            options = ["--cluster-enabled", "yes", "--cluster-port", str(buses[-1]), "--dir", str(own)]
            nodes.append(await stack.enter_async_context(valkey(*options, "--cluster-node-timeout", "500")))
        made = Cluster(nodes[:primaries], nodes[primaries:])
        edges = [number * _SLOTS // primaries for number in range(primaries + 1)]
        for number, (node, (first, after)) in enumerate(zip(made.primaries, pairwise(edges), strict=True)):
            assert await node.ask("CLUSTER", "ADDSLOTSRANGE", first, after - 1) == b"OK"
            assert await node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1) == b"OK"
        for node, bus in zip(nodes, buses, strict=True):
            await nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        for node in nodes:
            await until_it(partial(_knows, node, "cluster_state:ok", f"cluster_known_nodes:{len(nodes)}"))
        for primary, copy in zip(made.primaries, made.replicas, strict=False):
            assert await copy.ask("CLUSTER", "REPLICATE", await primary.ask("CLUSTER", "MYID")) == b"OK"
            await until_it(partial(_is_linked, copy))
        yield made


async def _knows(node: Valkey, *lines: str) -> bool:
    info = (await node.ask("CLUSTER", "INFO")).decode().splitlines()
    return set(lines) <= set(info)


async def _is_linked(copy: Valkey) -> bool:
    return b"master_link_status:up" in await copy.ask("INFO", "replication")


@dataclass
class Watched:
    """A primary and its replica, and the sentinels that watch them."""

    primary: Valkey
    copy: Valkey
    sentinels: Mapping[int, asyncio.subprocess.Process]
    name: str = "scores"

    @property
    def url(self) -> str:
        return f"redis+sentinel://{_USER}:secret@{','.join(f'127.0.0.1:{port}' for port in self.sentinels)}/{self.name}"


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Watched]:
    """A primary, a replica and three sentinels, which are gone after the block."""
    async with AsyncExitStack() as stack:
        options = ["--dir", str(folder), "--user", _USER, "on", ">secret", "~*", "&*", "+@all"]
        primary = await stack.enter_async_context(valkey(*options))
        copy = await stack.enter_async_context(valkey(*options, "--replicaof", f"127.0.0.1 {primary.port}"))
        await until_it(partial(_is_linked, copy))
        sentinels: dict[int, asyncio.subprocess.Process] = {}
        made = Watched(primary, copy, sentinels)
        for _ in range(3):
            port = free_port()
            written = folder / f"{port}.conf"
            written.write_text(
                f"port {port}\nbind 127.0.0.1\nsentinel monitor {made.name} 127.0.0.1 {primary.port} 2\n"
                f"sentinel down-after-milliseconds {made.name} 500\nsentinel failover-timeout {made.name} 3000\n"
            )
            process = await asyncio.create_subprocess_exec(
                BINARY, str(written), "--sentinel", stdout=DEVNULL, stderr=DEVNULL
            )
            stack.push_async_callback(_end, process)
            sentinels[port] = process
        for port in sentinels:
            await until_it(partial(_watches, port, made.name))
        yield made


async def _watches(port: int, name: str) -> bool:
    """True when a sentinel knows the two others and the replica."""
    try:
        answer = await Valkey.at(port).ask("SENTINEL", "MASTER", name)
    except OSError:
        return False
    told = dict(zip(answer[::2], answer[1::2], strict=True))
    return (told[b"num-other-sentinels"], told[b"num-slaves"]) == (b"2", b"1")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
