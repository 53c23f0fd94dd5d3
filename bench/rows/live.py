"""What splitting gains over one real vLLM worker: tokenizing one chunk overlaps scoring another."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

import orjson

from bench.connection import connected, get
from bench.gateways import Subject, gateway
from bench.load import in_sequence
from bench.processes import MEASURED_CORES, OTHER_CORES
from bench.quantiles import median
from bench.report import Report
from bench.traffic import never_seen, texts
from tests.live.worker import OwnWorker

URL = "BENCH_WORKERS"
API_KEY = "BENCH_WORKERS_API_KEY"
VENV = "TEST_VLLM_VENV"
_DOCUMENTS = texts(1000, chars=600)
_WARM_UP = 2


async def measure(report: Report) -> None:
    """1000 documents in turns through the gateway and in one call to the worker; nothing where there is none."""
    if not (os.environ.get(URL) or os.environ.get(VENV)):
        report.missing["live"] = f"needs a real worker: set {URL} to its URL, or {VENV} to a venv that has vLLM"
        return
    rounds = 3 if report.is_quick else 7
    async with _worker() as direct, gateway([direct.url], RERANK_WORKER_API_KEY=_key(direct)) as ours:
        endless = {one.name: (one, never_seen(one, _DOCUMENTS)) for one in (direct, ours)}
        seen: dict[str, list[float]] = {name: [] for name in endless}
        for _ in range(_WARM_UP + rounds):
            for name, (one, requests) in endless.items():
                seen[name] += await in_sequence(one.url, requests, 1)
    for name, latencies_s in seen.items():
        report.put("live_ms", name, 1000 * median(latencies_s[_WARM_UP:]))


@asynccontextmanager
async def _worker() -> AsyncIterator[Subject]:
    """The first of the given workers, or one that is started for it."""
    if urls := os.environ.get(URL):
        yield await _called(urls.partition(",")[0].strip().rstrip("/"), os.environ.get(API_KEY, ""))
        return
    with TemporaryDirectory() as directory:
        worker = OwnWorker(Path(os.environ[VENV]), api_key=token_hex(), log=Path(directory) / "log")
        # It tokenizes and scores at the same time only where it has a core for each.
        os.sched_setaffinity(0, MEASURED_CORES | OTHER_CORES)
        try:
            await worker.start()
            yield await _called(worker.url, worker.api_key)
        finally:
            await worker.stop()
            os.sched_setaffinity(0, OTHER_CORES)


async def _called(url: str, key: str) -> Subject:
    """A worker as it is called directly, for the model it serves."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with connected(url) as connection:
        served = orjson.loads(await connection.ask(get("/v1/models", headers)))
    return Subject("one call", url, path="/v1/rerank", headers=headers, model=served["data"][0]["id"])


def _key(worker: Subject) -> str:
    return worker.headers.get("Authorization", "").removeprefix("Bearer ")
