"""Whatever happens to Redis: lookups find nothing rather than something wrong, and none takes longer than it may."""

import asyncio
import math
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import cycle
from time import perf_counter
from typing import Any

import pytest

from app.cache.redis_codec import value_of
from app.cache.redis_connection import connection_to
from app.cache.replica_sync import Generations
from tests.awake import awake_clock
from tests.cache.middleman import Alter, Middleman
from tests.cache.replica import Replica, digests, replica, scores_of
from tests.cache.valkey import Valkey
from tests.waiting import until, until_it

PAIRS = digests(20)
SCORES = scores_of(PAIRS)
LIMIT_S = 0.2
# What a busy machine may add to it, which is still far from the second that other things may take.
LATE_S = 0.3


async def _is_left_alone(one: Replica) -> None:
    """Look up until the replica has given up; each takes no longer than it may, and finds what is right, or nothing."""
    asked = cycle([PAIRS[:10], PAIRS[10:]])
    with awake_clock() as now:
        async with asyncio.timeout(5):
            while one.tier.is_usable:
                pairs = next(asked)
                began = now()
                found = await one.lookup(pairs)
                assert now() - began < LIMIT_S + LATE_S
                assert found in ([None] * 10, [SCORES[pair] for pair in pairs])
        began = now()
        assert await one.lookup(PAIRS) == [None] * 20
        assert now() - began < 0.01


async def _fails_again(one: Replica, times: int = 1) -> None:
    """Wait until it was tried in vain, some times."""
    now = one.breaker.generation
    await until(lambda: one.breaker.generation >= now + 2 * times)
    assert not one.tier.is_usable


async def _finds_all_again(one: Replica, server: Valkey) -> None:
    await one.until_usable()
    one.store(SCORES)
    await server.until_keys(20)
    assert await one.lookup(PAIRS) == list(SCORES.values())


def _events(told: list[Any]) -> list[str]:
    return [line["event"] for line in told]


async def _hang(server: Valkey) -> None:
    server.hang()


async def _wake(server: Valkey) -> None:
    server.wake()


Act = Callable[[Valkey], Awaitable[None]]
FAULTS: dict[str, tuple[Act, Act]] = {
    "stopped": (Valkey.stop, Valkey.start),
    "killed": (Valkey.kill, Valkey.start),
    "hung": (_hang, _wake),
}


@pytest.mark.parametrize(("break_it", "cure_it"), FAULTS.values(), ids=FAULTS.keys())
async def test_a_server_that_fails_is_left_alone_until_it_works_again(
    server: Valkey, told: list[Any], break_it: Act, cure_it: Act
):
    async with replica(server.url, timeout_s=LIMIT_S) as one:
        one.store(SCORES)
        await server.until_keys(20)
        await break_it(server)
        await _is_left_alone(one)
        await _fails_again(one)
        await cure_it(server)
        await _finds_all_again(one, server)
    assert _events(told) == ["redis_usable", "redis_down", "redis_usable"]


async def test_a_server_that_hangs_costs_three_lookups_their_time_and_is_counted(server: Valkey):
    async with replica(server.url, timeout_s=0.02, exchange_interval_s=3600) as one:
        server.hang()
        took_s = []
        while one.tier.is_usable:
            began = perf_counter()
            assert await one.lookup(PAIRS) == [None] * 20
            took_s.append(perf_counter() - began)
        assert len(took_s) == 3
        # The others may have been late because the machine was busy.
        assert 0.019 <= min(took_s) < 0.035
        assert one.sample("rerank_redis_failures_total", reason="timeout") == 3
        assert one.sample("rerank_redis_duration_seconds_count", operation="lookup") == 3


async def test_lookups_under_way_end_with_the_connection(server: Valkey):
    async with replica(server.url, timeout_s=10, exchange_interval_s=3600) as one:
        server.hang()
        began = perf_counter()
        lookups = [asyncio.create_task(one.lookup([pair])) for pair in PAIRS]
        await asyncio.sleep(0)
        await server.kill()
        assert await asyncio.gather(*lookups) == [[None]] * 20
        assert perf_counter() - began < 5


async def test_a_slow_server_is_left_alone_until_it_is_fast_enough_for_requests(server: Valkey, told: list[Any]):
    async with Middleman(server.port).running() as middleman, replica(middleman.url, timeout_s=LIMIT_S) as one:
        middleman.delay_s = 2 * LIMIT_S
        await _is_left_alone(one)
        await _fails_again(one)
        middleman.delay_s = 0
        await _finds_all_again(one, server)
    assert _events(told) == ["redis_usable", "redis_down", "redis_usable"]


def _bulk(part: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(part), part)


def _array(parts: Sequence[bytes]) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(parts)


def _digests(command: list[bytes]) -> list[bytes]:
    return [key.removeprefix(b"rerank:1:") for key in command[1:]]


def _always(answer: bytes) -> Alter:
    return lambda *_: answer


def _previous() -> Alter:
    """Each question gets the answer to the one before."""
    answers = [_array([])]

    def alter(_: list[bytes], right: bytes) -> bytes:
        answers.append(right)
        return answers.pop(0)

    return alter


RUBBISH: dict[str, Alter] = {
    "not the protocol": _always(b"<html>\r\n"),
    "a number": _always(b":1\r\n"),
    "nothing": _always(b"*-1\r\n"),
    "a text": _always(_bulk(b"text")),
    "an error": _always(b"-ERR no\r\n"),
    "an error that ends connections": _always(b"-LOADING the dataset\r\n"),
    "an empty list": _always(_array([])),
    "numbers": lambda command, _: _array([b":1\r\n"] * (len(command) - 1)),
    "a list of lists": lambda command, _: _array([_array([])] * (len(command) - 1)),
    "a list of errors": lambda command, _: _array([b"-ERR no\r\n"] * (len(command) - 1)),
    "not asked for": _always(b">2\r\n+one\r\n:2\r\n"),
    "too deep": _always(b"*1\r\n" * 100),
    "half of it": lambda _, right: right[:-1],
    "all of it twice": lambda _, right: right + right,
    "that to the question before": _previous(),
}
WRONG_VALUES: dict[str, Alter] = {
    "one too few": lambda command, _: _array([b"$-1\r\n"] * (len(command) - 2)),
    "one too many": lambda command, _: _array([b"$-1\r\n"] * len(command)),
    "values too short": lambda command, _: _array([_bulk(b"")] * (len(command) - 1)),
    "values too long": lambda command, _: _array(
        [_bulk(value_of(pair, 1, 2**31) + b"!") for pair in _digests(command)]
    ),
    "values of other pairs": lambda command, _: _array(
        [_bulk(value_of(pair[::-1], 1, 2**31)) for pair in _digests(command)]
    ),
    "scores that are no numbers": lambda command, _: _array(
        [_bulk(value_of(pair, math.nan, 2**31)) for pair in _digests(command)]
    ),
}


@pytest.mark.parametrize("alter", [*RUBBISH.values(), *WRONG_VALUES.values()], ids=[*RUBBISH, *WRONG_VALUES])
async def test_wrong_answers_to_lookups_are_never_believed(server: Valkey, told: list[Any], alter: Alter):
    async with Middleman(server.port).running() as middleman, replica(middleman.url, timeout_s=LIMIT_S) as one:
        one.store(SCORES)
        await server.until_keys(20)
        middleman.alter = lambda command, right: alter(command, right) if command[0] == b"MGET" else right
        await _is_left_alone(one)
        await _fails_again(one)
        middleman.alter = None
        await _finds_all_again(one, server)
    assert _events(told) == ["redis_usable", "redis_down", "redis_usable"]


@pytest.mark.parametrize("alter", RUBBISH.values(), ids=RUBBISH.keys())
async def test_a_server_that_answers_everything_wrongly_is_never_used(server: Valkey, told: list[Any], alter: Alter):
    await server.ask("ACL", "SETUSER", "gateway", "on", ">s3cret", "allkeys", "+@all")
    async with Middleman(server.port, alter=alter).running() as middleman:
        url = middleman.url.replace("redis://", "redis://gateway:s3cret@") + "/1"
        async with replica(url, timeout_s=LIMIT_S, background_timeout_s=0.1, is_usable=False) as one:
            await until(lambda: bool(told))
            await _fails_again(one)
            middleman.alter = None
            await one.until_usable()
    assert _events(told) == ["redis_down", "redis_usable"]


async def test_a_wrong_password_is_told_once_and_never_shown(server: Valkey, told: list[Any]):
    await server.ask("ACL", "SETUSER", "gateway", "on", ">right", "allkeys", "+@all")
    url = server.url.replace("redis://", "redis://gateway:hush%21@")
    async with replica(url, is_usable=False) as one:
        await until(lambda: bool(told))
        await _fails_again(one)
        await server.ask("ACL", "SETUSER", "gateway", ">hush!")
        await one.until_usable()
    assert _events(told) == ["redis_down", "redis_usable"]
    assert "hush" not in str(told)


async def test_a_server_that_repeats_the_password_does_not_get_it_into_the_log(server: Valkey, told: list[Any]):
    echo = b"-ERR unknown command 'AUTH', with args beginning with: 'hush!'\r\n"
    async with Middleman(server.port, alter=_always(echo)).running() as middleman:
        url = middleman.url.replace("redis://", "redis://:hush%21@")
        async with replica(url, is_usable=False) as one:
            await until(lambda: bool(told))
    assert "hush" not in str(told) + repr(one) + repr(connection_to(url))
    assert "unknown command 'AUTH'" in told[0]["reason"]


REFUSALS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "full": (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]),
    "read-only": (["REPLICAOF", "127.0.0.1", "9"], ["REPLICAOF", "NO", "ONE"]),
}


@pytest.mark.parametrize(("refuse", "take"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_server_that_takes_no_writes_is_still_read(
    server: Valkey, told: list[Any], refuse: Sequence[str], take: Sequence[str]
):
    async with replica(server.url, timeout_s=1) as one:
        one.store(SCORES)
        await server.until_keys(20)
        await server.ask(*refuse)
        one.cache.flush("m")
        for more in digests(3, first=100):
            one.store({more: 0.5})
            await _is_refused_again(one)
            assert await one.lookup(PAIRS) == list(SCORES.values())
        await server.ask(*take)
        await until_it(lambda: server.ask("HGET", "rerank:1:generations", "m"))
        await until(lambda: len(_events(told)) > 2)
    assert _events(told) == ["redis_usable", "redis_refuses_writes", "redis_takes_writes"]


async def _is_refused_again(one: Replica) -> None:
    now = _refused(one)
    await until(lambda: _refused(one) > now)


def _refused(one: Replica) -> float:
    return one.sample("rerank_redis_failures_total", reason="refused")


@pytest.mark.parametrize("delay_s", [LIMIT_S / 4, 1.5 * LIMIT_S], ids=["cancelled", "timed out"])
async def test_the_answer_to_a_lookup_that_has_ended_goes_to_nobody_else(server: Valkey, delay_s: float):
    async with (
        Middleman(server.port).running() as middleman,
        replica(middleman.url, timeout_s=LIMIT_S, exchange_interval_s=3600) as one,
    ):
        one.store(SCORES)
        await server.until_keys(20)
        asked, middleman.delay_s = middleman.count(b"MGET"), delay_s
        first = asyncio.create_task(one.lookup(PAIRS[:1]))
        await until(lambda: middleman.count(b"MGET") > asked)
        if delay_s > LIMIT_S:
            assert await first == [None]
        first.cancel()
        middleman.delay_s = 0
        for pair in PAIRS[1:]:
            assert await one.lookup([pair]) == [SCORES[pair]]
        assert middleman.connections == 1


async def test_an_end_comes_soon_while_the_server_hangs(server: Valkey):
    with awake_clock() as now:
        async with replica(server.url) as one:
            server.hang()
            one.store(SCORES)
            began = now()
        assert now() - began < 1
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("mistake", [KeyError("m"), CancelledError()], ids=["an error", "a cancellation"])
async def test_a_bug_in_the_background_is_told_and_does_not_end_it(
    server: Valkey, told: list[Any], mistake: BaseException
):
    mistakes = [mistake]

    class Mistaken(Generations):
        def merge(self, known: Mapping[str, int]) -> Mapping[str, int]:
            if mistakes:
                raise mistakes.pop()
            return super().merge(known)

    async with replica(server.url, generations=Mistaken()) as one:
        assert await one.lookup(PAIRS) == [None] * 20
    assert _events(told) == ["task_failed", "redis_down", "redis_usable"]
    assert told[0]["exc_info"]
