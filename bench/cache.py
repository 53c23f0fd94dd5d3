"""What the pair cache saves, and what it costs: the figures of docs/caching.md.

Real gateway processes, a real Valkey and fake workers on loopback. Run it with `python -m bench.cache`; it takes about
40 s.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from hashlib import blake2b
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from random import Random
from time import process_time

import orjson
import uvloop

from app.cache.memory import BYTES_PER_PAIR, MemoryTier
from app.policy.digest import DIGEST_BYTES, pair_digests
from app.work import Fingerprint, Pairs
from bench.gateways import Connection, Gateway, connected, gateway, post
from tests.cache.valkey import valkey
from tests.fake_vllm import FakeVllm

_CLIENTS = 8
_DOCUMENT_CHARS = 700
# Of the searches.
_QUERIES, _DOCUMENTS, _SEARCHES, _FOUND = 500, 3000, 1000, 100
# Of the requests whose CPU time is measured: its clock has steps of 10 ms.
_BATCH, _REQUESTS, _ROUNDS = 32, 2000, 4
# Of the cache by itself.
_PAIRS, _AT_ONCE = 1_000_000, 100


def _row(what: str, figure: str, goal: str = "") -> None:
    print(f"{what:<68} {figure:>12}  {goal}", flush=True)


def _texts(count: int) -> list[str]:
    rng = Random(1)
    letters = rng.choices("abcdefghijklmnopqrstuvwxyz      ,.", k=_DOCUMENT_CHARS + count)
    return [f"{number:05}{''.join(letters[number:])}"[:_DOCUMENT_CHARS] for number in range(count)]


def _request(query: int, documents: Sequence[str]) -> bytes:
    return post(orjson.dumps({"query": f"query {query}", "documents": documents}))


async def searches() -> None:
    """How often workers score a pair that several of Milvus's searches have in common."""
    workers = [FakeVllm(fixed_s=0.004, per_document_s=0.0001) for _ in range(2)]
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker.running())
        async with gateway(workers) as alone:
            in_memory = await _scored_per_distinct([alone], workers)
        redis = {"RERANK_REDIS_URL": (await stack.enter_async_context(valkey())).url}
        async with gateway(workers, **redis) as one, gateway(workers, **redis) as other:
            shared = await _scored_per_distinct([one, other], workers)
    _row("pairs scored by workers per distinct pair: one replica", f"{in_memory:.3f}", "goal 1.00")
    _row("pairs scored by workers per distinct pair: two that share a Valkey", f"{shared:.3f}", "goal 1.05")


async def _scored_per_distinct(replicas: Sequence[Gateway], workers: Sequence[FakeVllm]) -> float:
    """Clients search at once: some queries often (Zipf), the documents in any order and in batches of any size."""
    rng, texts = Random(2), _texts(_DOCUMENTS)
    found = [rng.sample(range(_DOCUMENTS), _FOUND) for _ in range(_QUERIES)]
    queries = rng.choices(range(_QUERIES), [1 / (rank + 1) for rank in range(_QUERIES)], k=_SEARCHES)
    waiting = iter(queries)
    scored_before = _scored_by(workers)

    async def client(rng: Random) -> None:
        async with AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(connected(replica.port)) for replica in replicas]
            for query in waiting:
                for batch in _batches(found[query], rng):
                    request = _request(query, [texts[document] for document in batch])
                    await rng.choice(connections).ask(request)

    await asyncio.gather(*[client(Random(number)) for number in range(_CLIENTS)])
    return (_scored_by(workers) - scored_before) / (_FOUND * len(set(queries)))


def _batches(documents: Sequence[int], rng: Random) -> Iterator[list[int]]:
    shuffled = iter(rng.sample(documents, len(documents)))
    while batch := list(islice(shuffled, rng.randint(8, _FOUND))):
        yield batch


def _scored_by(workers: Sequence[FakeVllm]) -> int:
    return sum(len(call.documents) for worker in workers for call in worker.scored)


async def requests() -> None:
    """The gateway's CPU time per request."""
    rng, texts = Random(3), _texts(_BATCH)
    shuffled = cycle([_request(0, rng.sample(texts, _BATCH)) for _ in range(100)])
    never_seen = (_request(number, texts) for number in range(1, 10**9))
    async with FakeVllm(calls=deque(maxlen=1)).running() as worker:
        async with gateway([worker]) as caching:
            hits = await _cpu_ms(caching, shuffled)
            misses = await _cpu_ms(caching, never_seen)
        async with gateway([worker], RERANK_CACHE="off") as plain:
            off = await _cpu_ms(plain, shuffled)
    _row(f"CPU of a request of {_BATCH} documents: all in memory", f"{hits:.3f} ms", "goal 0.18, accepted 0.25")
    _row(f"CPU of a request of {_BATCH} documents: none known", f"{misses:.3f} ms")
    _row(f"CPU of a request of {_BATCH} documents: RERANK_CACHE=off", f"{off:.3f} ms")


async def _cpu_ms(asked: Gateway, requests: Iterator[bytes]) -> float:
    """The least of some rounds, since what else the machine does can only add; one more comes first, to warm up."""
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connected(asked.port)) for _ in range(_CLIENTS)]
        rounds = [await _round(asked, connections, islice(requests, _REQUESTS)) for _ in range(1 + _ROUNDS)]
    return min(rounds[1:])


async def _round(asked: Gateway, connections: Sequence[Connection], requests: Iterator[bytes]) -> float:
    async def client(connection: Connection) -> None:
        for request in requests:
            await connection.ask(request)

    before_s = asked.cpu_s()
    await asyncio.gather(*map(client, connections))
    return 1000 * (asked.cpu_s() - before_s) / _REQUESTS


def pairs() -> None:
    """What a pair costs in time and memory, in a process of its own and with a million of them."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        lookup_us, store_us, size_bytes = fresh.submit(_memory_tier).result()
    _row("a pair: looked up and found", f"{lookup_us:.2f} us")
    _row("a pair: stored, while another leaves for it", f"{store_us:.2f} us")
    _row("a pair: both together", f"{lookup_us + store_us:.2f} us", "goal 3")
    _row(f"a pair: digest of {_DOCUMENT_CHARS} bytes", f"{_digest_us():.2f} us")
    _row(f"memory for {_PAIRS:,} pairs", f"{_PAIRS * size_bytes / 1e6:.0f} MB", "goal 200")


def _memory_tier() -> tuple[float, float, float]:
    """Microseconds of CPU per pair that is looked up, and stored into a full cache; then its bytes per pair."""
    tier = MemoryTier(_PAIRS * BYTES_PER_PAIR)
    store = partial(tier.store, scores=[0.5] * _AT_ONCE, expiry=2**31)
    before = _resident_bytes()
    _us_per_pair(store, range(0, _PAIRS, _AT_ONCE))
    lookup_us = _us_per_pair(partial(tier.lookup, now=0), range(0, _PAIRS, 5 * _AT_ONCE))
    # Until all that was there has left: tables that lose pairs are larger than those that only get some.
    store_us = _us_per_pair(store, range(_PAIRS, 2 * _PAIRS, _AT_ONCE))
    return lookup_us, store_us, (_resident_bytes() - before) / len(tier)


def _us_per_pair(use: Callable[[list[bytes]], object], starts: range) -> float:
    """What `use` takes for the digests from each start on; making these isn't counted."""
    seconds = 0.0
    for start in starts:
        numbers = range(start, start + _AT_ONCE)
        digests = [blake2b(number.to_bytes(8, "little"), digest_size=DIGEST_BYTES).digest() for number in numbers]
        began = process_time()
        use(digests)
        seconds += process_time() - began
    return 1e6 * seconds / (len(starts) * _AT_ONCE)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _digest_us() -> float:
    asked = Pairs(["which one is it?"], _texts(_AT_ONCE))
    fingerprint = Fingerprint("model", "/models/model", 512, "0.32.0", "")
    rounds = []
    for _ in range(200):
        began = process_time()
        pair_digests(asked, secret=b"s" * 64, tenant="key", generation=0, fingerprint=fingerprint, fields={})
        rounds.append(process_time() - began)
    return 1e6 * min(rounds) / _AT_ONCE


async def main() -> None:
    """All parts, one after the other."""
    await searches()
    await requests()
    pairs()


if __name__ == "__main__":
    uvloop.run(main())
