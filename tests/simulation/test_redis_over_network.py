"""The Redis tier over the simulated network: whatever Redis does, lookups are right and in time."""

import asyncio
from collections.abc import Callable, Mapping
from random import Random

import pytest

from app.cache.check_results import CheckResults
from app.cache.redis_tier import RedisTier
from app.cache.replica_sync import Generations, WeightNames
from app.policy.breaker import Breaker
from app.telemetry.metrics import Metrics
from tests.simulation import redis_manners
from tests.simulation.redis_server import RedisServer
from tests.simulation.seams import network, now, over_network

DIGESTS = [bytes([number]) * 16 for number in range(5)]
KNOWN = [0.1, 0.2, 0.3, 0.4, 0.5]
Change = Callable[[RedisServer], None]


def redis_is(manner: redis_manners.Manner) -> Change:
    return lambda server: setattr(server, "manner", manner)


def lose_name(server: RedisServer) -> None:
    network().name("cache").hang()
    server.host.reset_connections()


# What Redis may do, and how many lookups in a row, one every 0.3 s, find nothing because of it.
REDIS_TROUBLES: Mapping[str, tuple[Change, range]] = {
    "slow": (redis_is(redis_manners.Manner(takes_s=0.01)), range(1)),
    "too slow": (redis_is(redis_manners.Manner(takes_s=0.05)), range(20, 21)),
    "hanging": (redis_is(redis_manners.Manner(hangs=True)), range(20, 21)),
    "answering twice": (redis_is(redis_manners.Manner(extra=b"+OK\r\n")), range(10, 21)),
    "no Redis": (redis_is(redis_manners.Manner(extra=b"<html>")), range(10, 21)),
    "frozen": (lambda server: server.host.freeze(), range(20, 21)),
    "gone": (lambda server: server.host.stop(), range(20, 21)),
    "reset": (lambda server: server.host.reset_connections(), range(1, 8)),
    "breaking off in a pipeline": (lambda server: setattr(server, "breaks_after", 1), range(1, 8)),
    "flushed": (lambda server: server.flush(), range(1, 3)),
    "overwritten": (lambda server: server.overwrite(lambda key, _: key), range(1, 8)),
    "behind a name that hangs": (lose_name, range(1, 21)),
    **{
        f"lying: {name}": (redis_is(redis_manners.Manner(lie=lie, only=frozenset({"MGET"}))), range(20, 21))
        for name, lie in redis_manners.LIES.items()
    },
    **{
        f"saying {error[:20]!r}": (redis_is(redis_manners.Manner(error=error)), range(20, 21))
        for error in redis_manners.ERRORS
    },
    **{
        f"saying {error[:20]!r} to writes": (
            redis_is(redis_manners.Manner(error=error, only=frozenset({"EVAL", "SET", "HSET"}))),
            range(1),
        )
        for error in redis_manners.ERRORS[:2]
    },
}


@pytest.mark.parametrize("name", REDIS_TROUBLES)
@over_network
async def test_redis_may_be_anything_and_lookups_are_right_and_in_time(name: str):
    network().name("cache", "10.0.0.9")
    host = network().host("10.0.0.9")
    host.cuts, host.jitter_s = 0.5, 0.0002
    server = RedisServer(host, rng=Random(1), password="secret")
    url = "redis://:secret@cache:6379/2"
    tier = RedisTier(
        url,
        timeout_s=0.02,
        ttl_s=3600,
        generations=Generations(),
        weight_names=WeightNames(),
        results=CheckResults(WeightNames()),
        metrics=Metrics(),
        breaker=Breaker(),
    )
    problem, misses = REDIS_TROUBLES[name]
    async with tier.running():
        await asyncio.sleep(0.2)
        await find(tier)
        assert await find(tier) == KNOWN
        problem(server)
        found = [await find(tier) for _ in range(20)]
        assert all(scores in ([None] * 5, KNOWN) for scores in found)
        assert found.count([None] * 5) in misses
        server.manner = redis_manners.AS_REDIS
        host.start()
        host.thaw()
        network().name("cache", "10.0.0.9")
        await asyncio.sleep(6)
        await find(tier)
        assert await find(tier) == KNOWN


async def find(tier: RedisTier) -> list[float | None]:
    """Look the pairs up, then write them for the next time."""
    began = now()
    found = await tier.lookup(DIGESTS)
    assert now() - began < 0.0201
    tier.store(DIGESTS, KNOWN, int(2e9))
    await asyncio.sleep(0.3)
    return [row and row[0] for row in found]


@over_network
async def test_redis_forgets_what_expires_and_what_is_one_too_many():
    server = RedisServer(network().host("10.0.0.9"), rng=Random(1), most_keys=3)
    for number in range(5):
        server.do([b"SET", b"%d" % number, b"x", b"EX", b"10"])
    assert len(server) == 3
    found = server.do([b"MGET", *(b"%d" % number for number in range(5))])
    assert found.count(b"x") == 3  # type: ignore[attr-defined]  # a list
    await asyncio.sleep(10)
    assert server.do([b"EXISTS", *(b"%d" % number for number in range(5))]) == 0
