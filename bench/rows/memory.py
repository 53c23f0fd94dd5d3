"""The memory the gateway takes when it has nothing to do, and what it takes more after ten minutes at full rate."""

import asyncio
from contextlib import suppress
from itertools import islice

from app.cache.memory_tier import BYTES_PER_PAIR
from bench.gateways import Served, gateway
from bench.load import closed_loop
from bench.quantiles import median
from bench.report import Report
from bench.traffic import never_seen, texts
from bench.workers import fake_workers

_CLIENTS = 8
_DOCUMENTS = texts(32, chars=700)
_SETTLE_S = 2.0
# The cache's tables still grow after it is full, until all pairs have been replaced.
_FILLS = 2.5
_SAMPLES = 120


async def measure(report: Report) -> None:
    """Idle, then a soak with pairs that are all new."""
    cache_bytes, soak_s = (2**24, 10.0) if report.is_quick else (2**26, 600.0)
    async with fake_workers(1) as workers, gateway(workers, RERANK_CACHE_MAX_BYTES=str(cache_bytes)) as ours:
        await asyncio.sleep(_SETTLE_S)
        report.put("memory_mb", "idle", _resident_mb(ours))
        requests = never_seen(ours, _DOCUMENTS)
        fill = int(_FILLS * cache_bytes / BYTES_PER_PAIR / len(_DOCUMENTS))
        await closed_loop(ours.url, islice(requests, fill), clients=_CLIENTS)
        samples: list[tuple[float, float]] = []
        watch = asyncio.create_task(_watch(ours, soak_s / _SAMPLES, samples))
        soaked = await closed_loop(ours.url, requests, clients=_CLIENTS, seconds=soak_s)
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
    report.series["memory_mb"] = samples
    some = max(1, len(samples) // 20)
    before_mb, after_mb = (median([mb for _, mb in part]) for part in (samples[:some], samples[-some:]))
    report.put("memory_mb", "cache full", before_mb)
    report.put("memory_mb", "after the soak", after_mb)
    report.put("memory_growth_percent", "gateway", 100 * (after_mb / before_mb - 1))
    report.put("soak_requests", "gateway", len(soaked.latencies_s))


async def _watch(subject: Served, every_s: float, samples: list[tuple[float, float]]) -> None:
    began = asyncio.get_running_loop().time()
    while True:
        samples.append((round(asyncio.get_running_loop().time() - began, 1), round(_resident_mb(subject), 2)))
        await asyncio.sleep(every_s)


def _resident_mb(subject: Served) -> float:
    return subject.server.resident_bytes() / 1e6
