"""What splitting gains over one real vLLM worker: tokenizing one chunk overlaps scoring another.

On a GPU the model computes beside the host's work. Here both want the same cores, so one worker serves a model that
computes next to nothing: what is left is vLLM's own work, which is the same whatever the GPU. A second one computes.
"""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

import orjson

from bench.connection import connected, get
from bench.gateways import Subject, gateway
from bench.load import in_sequence
from bench.processes import ALL_CORES, OTHER_CORES
from bench.quantiles import median
from bench.report import Report
from bench.traffic import never_seen, texts
from tests.live.worker import OwnWorker

URL = "BENCH_WORKERS"
API_KEY = "BENCH_WORKERS_API_KEY"
VENV = "TEST_VLLM_VENV"
_DOCUMENTS = texts(1000, chars=600)
_WARM_UP = 2
# One layer of 32 with weights that mean nothing.
_TRIFLE = '{"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 1, "intermediate_size": 32}'
# What the report calls our own workers, and the flags they are started with.
_OWN = {"live_ms": ("--load-format", "dummy", "--hf-overrides", _TRIFLE), "live_ms.cpu": ()}


async def measure(report: Report) -> None:
    """1000 documents in turns through the gateway and in one call to the worker; nothing where there is none."""
    if urls := os.environ.get(URL):
        given = await _called(urls.partition(",")[0].strip().rstrip("/"), os.environ.get(API_KEY, ""))
        await _compare(report, "live_ms", given)
        return
    if not os.environ.get(VENV):
        report.missing["live"] = f"needs a real worker: set {URL} to its URL, or {VENV} to a venv that has vLLM"
        return
    for what, flags in _OWN.items():
        async with _own_worker(flags) as worker:
            await _compare(report, what, worker)


async def _compare(report: Report, what: str, worker: Subject) -> None:
    rounds = 3 if report.is_quick else 7
    # The worker has all cores, and so has the gateway: next to the worker it needs little.
    async with gateway([worker.url], cores=ALL_CORES, RERANK_WORKER_API_KEY=_key(worker)) as ours:
        compared = (worker, replace(ours, model=worker.model))
        endless = {one.name: (one, never_seen(one, _DOCUMENTS)) for one in compared}
        seen: dict[str, list[float]] = {name: [] for name in endless}
        for _ in range(_WARM_UP + rounds):
            for name, (one, requests) in endless.items():
                seen[name] += await in_sequence(one.url, requests, 1)
    for name, latencies_s in seen.items():
        report.put(what, name, 1000 * median(latencies_s[_WARM_UP:]))


@asynccontextmanager
async def _own_worker(flags: Sequence[str]) -> AsyncIterator[Subject]:
    """A worker that is started for it."""
    with TemporaryDirectory() as directory:
        worker = OwnWorker(Path(os.environ[VENV]), api_key=token_hex(), log=Path(directory) / "log", flags=flags)
        # It tokenizes and scores at the same time only where it has a core for each.
        os.sched_setaffinity(0, ALL_CORES)
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
