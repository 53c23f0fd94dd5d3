"""Very many workers: what a request, the probes, a scrape and `/livez` take with ten, with 1,000 and with 5,000.

All are places of one fake worker, each with connections, probes and metrics of its own.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import yaml

from bench.connection import connected, get
from bench.gateways import Served, gateway
from bench.load import closed_loop
from bench.quantiles import median
from bench.report import Report
from bench.traffic import never_seen, texts
from bench.workers import fake_workers

COUNTS = (10, 1000, 5000)
_DOCUMENTS = texts(32, chars=700)
_CLIENTS = 10
_EVERY_S = 0.02


async def measure(report: Report) -> None:
    """Each number of workers, one after the other; a quick run leaves out the last."""
    for count in COUNTS[:-1] if report.is_quick else COUNTS:
        async with _gateway_over(count) as ours:
            # Until each has been probed, and once more.
            await asyncio.sleep(5 + count / 100)
            await _measure(report, ours, str(count), seconds=2.0 if report.is_quick else 8.0)


@asynccontextmanager
async def _gateway_over(count: int) -> AsyncIterator[Served]:
    async with fake_workers(1) as workers:
        with TemporaryDirectory() as folder:
            # As a variable they would be longer than Linux allows.
            config = Path(folder) / "gateway.yaml"
            config.write_text(yaml.safe_dump({"workers": [f"{workers[0]}/w{number}" for number in range(count)]}))
            async with gateway((), RERANK_CONFIG=str(config)) as ours:
                yield ours


async def _measure(report: Report, ours: Served, count: str, *, seconds: float) -> None:
    report.put("many_memory_mb", count, ours.server.resident_bytes() / 1e6)
    took_s: list[float] = []
    watch = asyncio.create_task(_watch(ours, took_s))
    began, before_s = perf_counter(), ours.server.cpu_s()
    await asyncio.sleep(seconds)
    report.put("many_probing_percent", count, 100 * (ours.server.cpu_s() - before_s) / (perf_counter() - began))
    async with connected(ours.url) as connection:
        began = perf_counter()
        await connection.ask(get("/metrics"))
        report.put("many_scrape_ms", count, 1000 * (perf_counter() - began))
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch
    report.put("many_livez_ms", count, 1000 * max(took_s))
    report.put("many_livez_p50_ms", count, 1000 * median(took_s))
    await closed_loop(ours.url, never_seen(ours, _DOCUMENTS), clients=_CLIENTS, seconds=1.0)
    before_s = ours.server.cpu_s()
    outcome = await closed_loop(ours.url, never_seen(ours, _DOCUMENTS), clients=_CLIENTS, seconds=seconds)
    report.put("many_cpu_ms", count, 1000 * (ours.server.cpu_s() - before_s) / len(outcome.latencies_s))
    report.put("many_p50_ms", count, 1000 * median(outcome.latencies_s))


async def _watch(ours: Served, took_s: list[float]) -> None:
    """Ask `/livez` again and again."""
    async with connected(ours.url) as connection:
        while True:
            began = perf_counter()
            await connection.ask(get("/livez"))
            took_s.append(perf_counter() - began)
            await asyncio.sleep(_EVERY_S)
