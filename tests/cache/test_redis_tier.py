"""What replicas share by Redis, over real sockets to a real server."""

import asyncio
import gc
import socket
from collections.abc import Sequence
from pathlib import Path
from time import thread_time, time
from typing import Any

import pytest

from app.cache.redis_codec import names_key_of
from app.cache.score_cache import ScoreCache
from app.cache.write_queue import WriteQueue
from app.types import Fingerprint, Pairs, RequestContext
from tests.cache.middleman import Middleman
from tests.cache.replica import digests, replica, scores_of
from tests.cache.valkey import Valkey, valkey
from tests.certificates import Certificates
from tests.listening import dead_port
from tests.waiting import until, until_it

PAIRS = digests(100)
SCORES = scores_of(PAIRS)
FINGERPRINT = Fingerprint("m", "/m", 512, "1", "")
CALLER = RequestContext(key="k", request_id="r", deadline=0)


async def test_what_one_replica_stores_the_other_finds(server: Valkey):
    async with replica(server.url) as one, replica(server.url) as other:
        one.store(SCORES)
        await server.until_keys(100)
        assert await other.lookup(PAIRS) == list(SCORES.values())
        unknown = digests(1, first=1000)
        assert await other.lookup([*unknown, PAIRS[0]]) == [None, SCORES[PAIRS[0]]]


async def test_keys_carry_the_version_of_the_layout_and_live_as_long_as_scores_do(server: Valkey):
    async with replica(server.url, ttl_s=60) as one:
        one.store(SCORES)
        await server.until_keys(100)
    for key in await server.keys():
        assert key.startswith(b"rerank:1:")
        assert 50 < await server.ask("TTL", key) <= 60


async def test_what_expired_is_not_known_even_where_it_is_still_there(server: Valkey):
    async with replica(server.url) as one:
        one.store(SCORES, ttl_s=-1)
        await server.until_keys(100)
        assert await one.lookup(PAIRS) == [None] * 100
        assert one.failures == 0


@pytest.mark.parametrize(("pairs", "questions"), [(1, 1), (1000, 1), (2500, 3)])
async def test_a_lookup_is_one_round_trip_on_the_one_connection(server: Valkey, pairs: int, questions: int):
    asked = digests(pairs)
    async with (
        Middleman(server.port).running() as middleman,
        replica(middleman.url, timeout_s=1, exchange_interval_s=3600) as one,
    ):
        one.store(scores_of(asked))
        await server.until_keys(pairs)
        before, middleman.delay_s = middleman.count(b"MGET"), 0.1
        began = asyncio.get_running_loop().time()
        assert await one.lookup(asked) == list(scores_of(asked).values())
        assert asyncio.get_running_loop().time() - began < 0.2, "more than one round trip"
        assert middleman.count(b"MGET") - before == questions
        assert middleman.connections == 1


async def test_lookups_at_once_share_one_connection_and_each_gets_its_own_answers(server: Valkey):
    async with Middleman(server.port).running() as middleman, replica(middleman.url, timeout_s=1) as one:
        one.store(SCORES)
        await server.until_keys(100)
        found = await asyncio.gather(*[one.lookup([pair]) for pair in PAIRS])
        assert found == [[score] for score in SCORES.values()]
        assert middleman.connections == 1


async def test_what_comes_in_time_of_a_large_lookup_is_used(server: Valkey):
    asked = digests(3000)
    async with Middleman(server.port).running() as middleman, replica(middleman.url) as one:
        one.store(scores_of(asked))
        await server.until_keys(3000)
        middleman.alter = lambda command, right: right if asked[0] in command[1] else b""
        assert await one.lookup(asked) == [*scores_of(asked[:1000]).values()] + [None] * 2000
        assert one.failures == 0


async def test_writes_go_out_in_batches(server: Valkey):
    async with Middleman(server.port).running() as middleman, replica(middleman.url) as one:
        for pair in digests(1200):
            one.store({pair: 0.5})
        await server.until_keys(1200)
        assert middleman.count(b"EVAL") <= 4


async def test_what_is_stored_just_before_the_end_still_gets_out(server: Valkey):
    async with replica(server.url) as one:
        one.store(scores_of(digests(2000)))
    assert len(await server.keys()) == 2000


async def test_nothing_is_left_behind(server: Valkey):
    before = asyncio.all_tasks()
    async with replica(server.url) as one:
        one.store(SCORES)
        await one.lookup(PAIRS)
    assert asyncio.all_tasks() == before

    async def has_no_other_client() -> bool:
        return len((await server.ask("CLIENT", "LIST")).splitlines()) == 1

    await until_it(has_no_other_client)


async def test_writing_many_pairs_leaves_time_for_others(server: Valkey):
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        last = thread_time()
        while True:
            await asyncio.sleep(0)
            last, before = thread_time(), last
            longest = max(longest, last - before)

    async def are_written() -> bool:
        return bool(await server.ask("DBSIZE") >= 20_000)

    async with replica(server.url) as one:
        pieces = [scores_of(digests(1000, first=first)) for first in range(0, 20_000, 1000)]
        # What other tests left behind would be collected in this one's time.
        gc.disable()
        watching = asyncio.create_task(watch())
        for piece in pieces:
            one.store(piece)
            await asyncio.sleep(0)
        await until_it(are_written)
        watching.cancel()
        gc.enable()
    assert len(await server.keys()) == 20_000
    assert longest < 0.01


def test_what_waits_to_be_written_has_bounds():
    write_queue = WriteQueue(3)
    write_queue.put([(b"a", b""), (b"b", b"")])
    write_queue.put([(b"c", b""), (b"d", b"")])
    assert len(write_queue) == 2
    write_queue.put([(b"c", b"")])
    assert len(write_queue) == 3


async def test_a_flush_reaches_other_replicas(server: Valkey):
    async with replica(server.url) as one, replica(server.url) as other:
        one.cache.flush("m")
        await until(lambda: other.generations.of("m") == one.generations.of("m"))
        assert abs(other.generations.of("m") - time() * 1000) < 10_000
        assert other.generations.of("n") == 0


async def test_a_flush_is_told_at_once(server: Valkey):
    async with replica(server.url, exchange_interval_s=3600) as one:
        one.cache.flush("m")
        await until_it(lambda: server.ask("EXISTS", "rerank:1:generations"))


async def test_a_replica_that_starts_knows_earlier_flushes_before_it_looks_anything_up(server: Valkey):
    await server.ask("HSET", "rerank:1:generations", "m", "123")
    async with replica(server.url, exchange_interval_s=3600) as late:
        assert late.generations.of("m") == 123


async def test_a_flush_outlives_what_the_server_forgets(server: Valkey):
    async with replica(server.url) as one, replica(server.url):
        one.cache.flush("m")
        await server.ask("FLUSHALL")
        async with replica(server.url) as late:
            await until(lambda: late.generations.of("m") == one.generations.of("m"))


async def test_the_later_of_two_flushes_wins_everywhere(server: Valkey):
    async with replica(server.url) as one, replica(server.url) as other:
        one.generations.flush("m", 5)
        other.generations.flush("m", 7)
        one.tier.exchange_soon()
        other.tier.exchange_soon()
        await until(lambda: one.generations.of("m") == other.generations.of("m") == 7000)


async def test_replicas_whose_workers_gave_the_probe_slightly_different_scores_still_share(server: Valkey):
    def digest(cache: ScoreCache, weights: str) -> Sequence[bytes]:
        return cache.digests(Pairs(["q"], ["d"]), FINGERPRINT._replace(probe_scores=weights), {}, CALLER)

    async with replica(server.url) as one, replica(server.url) as other:
        await until(lambda: digest(one.cache, "0.50,0.10") == digest(other.cache, "0.51,0.11"))
        assert digest(one.cache, "0.90,0.90") != digest(other.cache, "0.50,0.10")


async def test_names_of_weights_expire_and_those_in_use_are_written_again(server: Valkey):
    async with replica(server.url, ttl_s=2) as one:
        for weights in ("0.50,0.10", "0.90,0.90"):
            one.cache.digests(Pairs(["q"], ["d"]), FINGERPRINT._replace(probe_scores=weights), {}, CALLER)
        (key,) = await _names_in(server)
        assert await server.ask("GET", key) == b"0.50,0.10;0.90,0.90"
        for _ in range(6):
            await asyncio.sleep(0.5)
            one.cache.digests(Pairs(["q"], ["d"]), FINGERPRINT._replace(probe_scores="0.50,0.10"), {}, CALLER)
            assert await server.ask("EXISTS", key)
        assert 0 < await server.ask("PTTL", key) <= 2000
        await until_it(lambda: _is_gone(server, key))


async def _names_in(server: Valkey) -> list[bytes]:
    """The keys of names, as soon as there are two names."""

    async def are_there() -> bool:
        return any([b";" in await server.ask("GET", key) for key in await server.ask("KEYS", "rerank:1:weights:*")])

    await until_it(are_there)
    found: list[bytes] = await server.ask("KEYS", "rerank:1:weights:*")
    return found


async def _is_gone(server: Valkey, key: bytes) -> bool:
    return bool(await server.ask("EXISTS", key) == 0)


@pytest.mark.parametrize("flood", [b";".join(b"%d.50,0.10" % number for number in range(100_000)), b"\xff" * 100])
async def test_names_that_no_replica_wrote_are_replaced(server: Valkey, flood: bytes):
    await server.ask("SET", names_key_of(FINGERPRINT), flood)
    async with replica(server.url) as one:
        one.cache.digests(Pairs(["q"], ["d"]), FINGERPRINT._replace(probe_scores="0.50,0.10"), {}, CALLER)

        async def is_ours() -> bool:
            return bool(await server.ask("GET", names_key_of(FINGERPRINT)) == b"0.50,0.10")

        await until_it(is_ours)
        assert one.tier.is_usable


async def test_a_flood_of_generations_is_not_read(server: Valkey, told: list[Any]):
    for start in range(0, 100_000, 1000):
        parts = [part for number in range(start, start + 1000) for part in (f"model {number}", number)]
        await server.ask("HSET", "rerank:1:generations", *parts)
    async with replica(server.url, is_usable=False) as one, Middleman(server.port).running() as middleman:
        await until(lambda: any("more models" in line.get("reason", "") for line in told))
        assert one.generations.known() == {}
        async with replica(middleman.url, is_usable=False):
            await until(lambda: middleman.count(b"HLEN") > 0)
            assert not middleman.count(b"HGETALL")
        await server.ask("DEL", "rerank:1:generations")
        await one.until_usable()


async def test_a_password_may_have_any_characters():
    async with valkey("--requirepass", "p@ss:w/rd#?") as server:
        url = server.url.replace("redis://", "redis://:p%40ss%3Aw%2Frd%23%3F@")
        async with replica(url) as one:
            assert await one.lookup(PAIRS[:1]) == [None]


async def test_a_user_needs_no_more_than_these_commands(server: Valkey):
    commands = ("+mget", "+hlen", "+hgetall", "+hset", "+eval", "+set")
    assert await server.ask("ACL", "SETUSER", "gateway", "on", ">s3cret", "~rerank:*", "-@all", *commands) == b"OK"
    async with replica(server.url.replace("redis://", "redis://gateway:s3cret@")) as one:
        one.store(SCORES)
        await server.until_keys(100)
        one.cache.flush("m")
        assert await one.lookup(PAIRS) == list(SCORES.values())
        assert one.sample("rerank_redis_failures_total", reason="refused") == 0


async def test_a_database_may_be_chosen(server: Valkey):
    async with replica(f"{server.url}/3") as one:
        one.store(SCORES)
        await until(lambda: one.sample("rerank_redis_duration_seconds_count", operation="store") == 1)
        assert await one.lookup(PAIRS) == list(SCORES.values())
    assert await server.keys() == []


async def test_a_server_may_listen_at_a_path(tmp_path: Path):
    path = tmp_path / "valkey.sock"
    async with valkey("--unixsocket", str(path)) as server, replica(f"unix://{path}?db=0") as one:
        one.store(SCORES)
        await server.until_keys(100)
        assert await one.lookup(PAIRS) == list(SCORES.values())


# The server of these tests is built without TLS, so somebody before it speaks it.
async def test_a_connection_may_be_encrypted_and_its_certificate_is_checked(
    server: Valkey, certificates: Certificates, told: list[Any]
):
    async with Middleman(server.port).running(certificates.serving()) as middleman:
        async with replica(f"{middleman.url}?ssl_ca_certs={certificates.authority}") as one:
            one.store(SCORES)
            await server.until_keys(100)
            assert await one.lookup(PAIRS) == list(SCORES.values())
        async with replica(middleman.url, is_usable=False) as distrusting:
            await until(lambda: any("certificate" in line.get("reason", "") for line in told))
            assert not distrusting.tier.is_usable


async def test_a_certificate_is_checked_for_the_name_of_the_server(
    server: Valkey, certificates: Certificates, told: list[Any]
):
    async with Middleman(server.port).running(certificates.serving()) as middleman:
        elsewhere = middleman.url.replace("127.0.0.1", "localhost")
        async with replica(f"{elsewhere}?ssl_ca_certs={certificates.authority}", is_usable=False) as distrusting:
            await until(lambda: any("'localhost'" in line.get("reason", "") for line in told))
            assert not distrusting.tier.is_usable


async def test_a_name_may_have_addresses_where_nobody_answers(server: Valkey, monkeypatch: pytest.MonkeyPatch):
    of_the_system = socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any, **hints: Any) -> Any:
        if host != "cache":
            return of_the_system(host, *args, **hints)
        if hints.get("flags"):
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        return [found for ip in ("127.0.0.2", "127.0.0.1") for found in of_the_system(ip, *args, **hints)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with dead_port("127.0.0.2", server.port):
        async with replica(server.url.replace("127.0.0.1", "cache")) as one:
            one.store(SCORES)
            await server.until_keys(100)
