"""Scores shared by a cluster, or by the primary that sentinels name: while it changes, misses and never an error."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import time
from typing import Any

import pytest
import pytest_asyncio

from app.cache.redis_codec import GENERATIONS, key_of
from tests.awake import awake_clock
from tests.cache.cluster import Cluster, cluster, watched
from tests.cache.replica import Replica, digests, replica, scores_of
from tests.waiting import until, until_it

PAIRS = digests(300)
SCORES = scores_of(PAIRS)
LIMIT_S = 0.2
# What a busy machine may add to it, which is still far from the second that other things may take.
LATE_S = 0.3


@pytest_asyncio.fixture
async def three(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path) as running:
        yield running


async def _look_up(one: Replica) -> bool:
    """Look all pairs up: in time, and no score is wrong. True when all are found."""
    one.store(SCORES)
    with awake_clock() as now:
        began = now()
        found = await one.lookup(PAIRS)
        assert now() - began < LIMIT_S + LATE_S
    assert all(score in (None, SCORES[pair]) for pair, score in zip(PAIRS, found, strict=True))
    return None not in found


async def _is_heard_of(one: Replica, other: Replica) -> None:
    one.generations.flush("m", time())
    one.tier.exchange_soon()
    await until(lambda: other.generations.of("m") == one.generations.of("m"))


async def _until_found(one: Replica) -> None:
    await until_it(lambda: _look_up(one), within_s=30)


async def test_replicas_share_by_all_nodes_of_a_cluster_and_follow_slots_that_move(three: Cluster, told: list[Any]):
    async with replica(three.url, timeout_s=LIMIT_S) as one, replica(three.url, timeout_s=LIMIT_S) as other:
        one.store(SCORES)
        await three.until_keys(300)
        assert all([len(await node.keys()) > 50 for node in three.primaries])
        assert await other.lookup(PAIRS) == list(SCORES.values())

        target = await three.begin_to_move(key_of(PAIRS[0]))
        assert await other.lookup(PAIRS) == [None, *list(SCORES.values())[1:]]
        await three.finish_move(key_of(PAIRS[0]), target)
        assert await other.lookup(PAIRS) == [None, *list(SCORES.values())[1:]], "the answer says where to ask next time"
        assert await other.lookup(PAIRS) == list(SCORES.values())

        # The exchange finds its key before, meanwhile and afterwards.
        await _is_heard_of(one, other)
        target = await three.begin_to_move(GENERATIONS)
        await _is_heard_of(one, other)
        await three.finish_move(GENERATIONS, target)
        await _is_heard_of(one, other)
        assert await target.ask("EXISTS", GENERATIONS) == 1
        assert one.failures == other.failures == 0
        assert [line for line in told if line["event"] != "redis_usable"] == []


@pytest.mark.long
async def test_a_cluster_of_six_loses_a_primary_and_the_cache_comes_back_without_an_error(
    tmp_path: Path, told: list[Any]
):
    async with (
        cluster(tmp_path, has_replicas=True) as six,
        replica(six.url, timeout_s=LIMIT_S) as one,
    ):
        await _until_found(one)
        await six.primaries[0].kill()
        await until(lambda: not one.tier.is_usable)
        await _until_found(one)
        # One that hangs is a dead one, and one that is asked to step down is a replica that says where to ask.
        six.primaries[1].hang()
        await _lookups_until(one, lambda: not one.tier.is_usable)
        await _until_found(one)
        assert await six.replicas[2].ask("CLUSTER", "FAILOVER") == b"OK"
        await _lookups_until(one, lambda: not one.tier.is_usable)
        await _until_found(one)
    assert {line["event"] for line in told} == {"redis_usable", "redis_down"}


@pytest.mark.long
async def test_sentinels_tell_who_the_primary_is_now(tmp_path: Path, told: list[Any]):
    async with watched(tmp_path) as group, replica(group.url, timeout_s=LIMIT_S) as one:
        await _until_found(one)
        assert b"user=gateway" in await group.primary.ask("CLIENT", "LIST")
        await group.primary.kill()
        await until(lambda: not one.tier.is_usable)
        await _until_found(one)
        assert await group.copy.ask("DBSIZE") >= 300
        # What comes back is a replica soon; nobody writes to it, and its primary is found by any sentinel that lives.
        await group.primary.start()
        await _until_found(one)
        assert (await group.copy.ask("ROLE"))[0] == b"master"
        next(iter(group.sentinels.values())).kill()
        await group.copy.ask("CLIENT", "KILL", "TYPE", "normal")
        await _lookups_until(one, lambda: not one.tier.is_usable)
        await _until_found(one)
    assert {line["event"] for line in told} == {"redis_usable", "redis_down"}


async def _lookups_until(one: Replica, holds: Callable[[], object]) -> None:
    """Look up, in time and without a wrong score, until something holds."""

    async def is_so() -> bool:
        await _look_up(one)
        return bool(holds())

    await until_it(is_so, within_s=30)
