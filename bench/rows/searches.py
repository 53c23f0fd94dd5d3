"""How often workers score a pair that several searches of Milvus have in common."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from random import Random

from bench.connection import connected
from bench.gateways import Subject, gateway
from bench.report import Report
from bench.traffic import batches, texts, zipf
from bench.workers import Service, documents_scored, fake_workers
from tests.cache.valkey import valkey

_SERVICE = Service(fixed_s=0.004, per_document_s=0.0001)
_CLIENTS = 8
_QUERIES, _DOCUMENTS, _FOUND = 500, 3000, 100
# Documents per call: Milvus's default, and `max_client_batch_size` set so that a search is one call.
BATCHES = {"batches of 32": 32, "one call": _FOUND}


async def measure(report: Report) -> None:
    """Searches cut both ways over one replica, and over two that share a Valkey."""
    for name, size in BATCHES.items():
        async with fake_workers(2, _SERVICE) as workers, gateway(workers) as alone:
            report.put("scored_per_distinct", name, await _scored_per_distinct(report, [alone], workers, size))
    async with AsyncExitStack() as stack:
        workers = await stack.enter_async_context(fake_workers(2, _SERVICE))
        url = (await stack.enter_async_context(valkey())).url
        replicas = [await stack.enter_async_context(gateway(workers, RERANK_REDIS_URL=url)) for _ in range(2)]
        scored = await _scored_per_distinct(report, replicas, workers, BATCHES["batches of 32"])
        report.put("scored_per_distinct", "two replicas, one Valkey", scored)


async def _scored_per_distinct(
    report: Report, replicas: Sequence[Subject], workers: Sequence[str], batch: int
) -> float:
    """Clients search at once: some queries often, the documents in random order, any replica."""
    rng, documents = Random(2), texts(_DOCUMENTS, chars=700)
    found = [rng.sample(range(_DOCUMENTS), _FOUND) for _ in range(_QUERIES)]
    queries = zipf(rng, _QUERIES, 300 if report.is_quick else 1500)
    waiting = iter(queries)
    scored_before = await documents_scored(workers)

    async def client(rng: Random) -> None:
        async with AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(connected(replica.url)) for replica in replicas]
            for query in waiting:
                for numbers in batches(found[query], rng, batch):
                    request = replicas[0].request(f"query {query}", [documents[number] for number in numbers])
                    await rng.choice(connections).ask(request)

    await asyncio.gather(*[client(Random(number)) for number in range(_CLIENTS)])
    return (await documents_scored(workers) - scored_before) / (_FOUND * len(set(queries)))
