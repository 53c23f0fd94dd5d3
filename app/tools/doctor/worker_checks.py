"""The checks of one worker: that the gateway can work with it."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from app.settings import Settings
from app.tools.doctor.findings import Findings
from app.tools.doctor.keep_alive import WORKER_IDLE_S, check_worker_keep_alive
from app.tools.doctor.options import Options
from app.tools.doctor.scoring_checks import check_work
from app.tools.doctor.seen_worker import SeenWorker, probe_timeout_s
from app.tools.doctor.server_client import NoAnswer, Reason, ServerClient
from app.tools.doctor.time_limits import bounded

_WORK = ("worker-scores", "worker-score-route", "worker-queue", "worker-truncation")
_OK = 200
_SHUT_OUT = {401, 403}
# Scoring was checked with this release and the one after it.
_OLDEST = (0, 32)
_FIXES: Mapping[Reason, str] = {
    "dns": "correct the host in RERANK_WORKERS",
    "refused": "start vLLM there (--host 0.0.0.0 if elsewhere) and wait while it loads, or correct RERANK_WORKERS",
    "certificate": "name the authority in RERANK_WORKER_CA_FILE, and workers by the names in their certificates",
    "tls": "write http:// in RERANK_WORKERS, or start vLLM with --ssl-certfile and --ssl-keyfile",
    "silence": "look for a firewall, and restart vLLM if it hangs",
    "broken": "correct the scheme and port in RERANK_WORKERS",
}


async def examine(worker: SeenWorker, options: Options, found: Findings, *, until: float) -> None:
    """Check one worker until a time on the loop's clock; observations are kept in `worker`."""
    name, settings = worker.client.name, options.settings
    idle_s = min(options.idle_s, WORKER_IDLE_S)
    if not await _check_access(worker, settings, found):
        return
    table = (
        (("worker-health",), _check_health(worker.client, found)),
        (("worker-keep-alive",), check_worker_keep_alive(worker.client, found, idle_s=idle_s)),
        (_WORK, check_work(worker, settings, found)),
    )
    await asyncio.gather(*(bounded(checks, work, found, until=until, name=name) for checks, work in table))


async def _check_access(worker: SeenWorker, settings: Settings, found: Findings) -> bool:
    """Check that the worker is a vLLM server that lets the gateway in; True if the other checks can go on."""
    client = worker.client
    try:
        listed = await client.get("/v1/models", timeout_s=probe_timeout_s(settings))
        version = await client.get("/version", timeout_s=probe_timeout_s(settings))
    except NoAnswer as failed:
        found.red("worker-answers", failed.seen, _FIXES[failed.reason])
        return False
    if listed.status in _SHUT_OUT:
        fix = "set RERANK_WORKER_API_KEY to the --api-key of vLLM"
        found.red("worker-answers", f"{client.name} refuses the key: {listed.told}", fix)
        return False
    rows = listed.json.get("data") if isinstance(listed.json, dict) else None
    if listed.status != _OK or not isinstance(rows, list) or not isinstance(version.json, dict):
        fix = (
            "correct the address in RERANK_WORKERS; proxies on the way must pass /v1/models, /version and /v1/score on"
        )
        found.red("worker-answers", f"{client.name} doesn't answer as vLLM does: /v1/models {listed.told}", fix)
        return False
    found.green("worker-answers", f"{client.name} answers as vLLM does, and takes the key")
    worker.version = str(version.json.get("version", ""))
    _check_version(worker, found)
    return _take_model(worker, rows, found)


def _check_version(worker: SeenWorker, found: Findings) -> None:
    numbers = re.match(r"(\d+)\.(\d+)", worker.version)
    seen = f"{worker.client.name} is vLLM {worker.version[:40]}"
    if numbers and (int(numbers[1]), int(numbers[2])) < _OLDEST and worker.version != "0.0.0":
        oldest = ".".join(map(str, _OLDEST))
        found.yellow(
            "worker-version", f"{seen}; the gateway was checked with {oldest} and later", f"update vLLM to {oldest}"
        )
    else:
        found.green("worker-version", seen)


def _take_model(worker: SeenWorker, rows: list[Any], found: Findings) -> bool:
    try:
        row = rows[0]
        worker.model, worker.max_model_len = str(row["id"]), int(row["max_model_len"])
        worker.traits = (str(row.get("root")), str(worker.max_model_len), worker.version)
    except (LookupError, TypeError, ValueError, AttributeError):
        fix = "serve a scoring model: vllm serve MODEL --runner pooling"
        found.red("worker-model", f"{worker.client.name} lists no model with a max_model_len", fix)
        return False
    found.green("worker-model", f"{worker.client.name} serves {worker.model}, {worker.max_model_len} tokens")
    return True


async def _check_health(client: ServerClient, found: Findings) -> None:
    reply = await client.get("/health")
    if reply.status == _OK:
        found.green("worker-health", f"{client.name} says that it is well")
    else:
        found.red("worker-health", f"{client.name} says of its health {reply.told}", "restart vLLM; its log says why")
