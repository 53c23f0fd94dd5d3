"""One worker: whether the gateway can work with it."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.settings import Settings
from app.tools.doctor.answers import LARGEST_SCORE
from app.tools.doctor.bounds import bounded
from app.tools.doctor.connections import WORKER_IDLE_S, check_worker_keep_alive
from app.tools.doctor.exam import Exam
from app.tools.doctor.findings import Findings
from app.tools.doctor.line import Line, NoAnswer, Reason, Reply
from app.tools.doctor.truncation import check_truncation

_WORK = ("worker-scores", "worker-score-route", "worker-queue", "worker-truncation")
_OK = 200
_SHUT_OUT = {401, 403}
_BUSY = {429, 503}
_NO_ROUTE = {404, 405}
_MOST_PATIENCE_S = 5.0
# Scoring was checked with this release and the one after it.
_OLDEST = (0, 32)
_QUERY = "What is the capital of France?"
_TEXTS = (
    "The capital of France is Paris.",
    "The capital of Brazil is Brasilia.",
    "France is known for its cheese.",
    "Horses and cows are both animals.",
)
_FIXES: Mapping[Reason, str] = {
    "dns": "correct the host in RERANK_WORKERS",
    "refused": "start vLLM there (--host 0.0.0.0 if elsewhere) and wait while it loads, or correct RERANK_WORKERS",
    "certificate": "name the authority in RERANK_WORKER_CA_FILE, and workers by the names in their certificates",
    "tls": "write http:// in RERANK_WORKERS, or start vLLM with --ssl-certfile and --ssl-keyfile",
    "silence": "look for a firewall, and restart vLLM if it hangs",
    "broken": "correct the scheme and port in RERANK_WORKERS",
}


@dataclass(eq=False)
class Worker:
    """What was seen of one worker.

    Args:
        model: The name it serves its first model under; "" until that is known.
        traits: What else the gateway tells workers of a model apart by: root, length, version.
        scores: Of the fixed pairs; empty until there are some.
    """

    line: Line
    model: str = ""
    max_model_len: int = 0
    version: str = ""
    traits: tuple[str, ...] = ()
    scores: Sequence[float] = field(default_factory=tuple)


async def examine(worker: Worker, exam: Exam, found: Findings, *, until: float) -> None:
    """Check one worker until a time on the loop's clock; what was seen of it is kept in `worker`."""
    name, settings = worker.line.name, exam.settings
    idle_s = min(exam.idle_s, WORKER_IDLE_S)
    if not await _meet(worker, settings, found):
        return
    table = (
        (("worker-health",), _check_health(worker.line, found)),
        (("worker-keep-alive",), check_worker_keep_alive(worker.line, found, idle_s=idle_s)),
        (_WORK, _check_work(worker, settings, found)),
    )
    await asyncio.gather(*(bounded(checks, work, found, until=until, name=name) for checks, work in table))


async def _meet(worker: Worker, settings: Settings, found: Findings) -> bool:
    """Whether a vLLM server lets the gateway in."""
    line = worker.line
    try:
        listed = await line.get("/v1/models", timeout_s=_patience_s(settings))
        version = await line.get("/version", timeout_s=_patience_s(settings))
    except NoAnswer as failed:
        found.red("worker-answers", failed.seen, _FIXES[failed.reason])
        return False
    if listed.status in _SHUT_OUT:
        fix = "set RERANK_WORKER_API_KEY to the --api-key of vLLM"
        found.red("worker-answers", f"{line.name} refuses the key: {listed.told}", fix)
        return False
    rows = listed.json.get("data") if isinstance(listed.json, dict) else None
    if listed.status != _OK or not isinstance(rows, list) or not isinstance(version.json, dict):
        fix = (
            "correct the address in RERANK_WORKERS; proxies on the way must pass /v1/models, /version and /v1/score on"
        )
        found.red("worker-answers", f"{line.name} doesn't answer as vLLM does: /v1/models {listed.told}", fix)
        return False
    found.green("worker-answers", f"{line.name} answers as vLLM does, and takes the key")
    worker.version = str(version.json.get("version", ""))
    _check_version(worker, found)
    return _take_model(worker, rows, found)


def _check_version(worker: Worker, found: Findings) -> None:
    numbers = re.match(r"(\d+)\.(\d+)", worker.version)
    seen = f"{worker.line.name} is vLLM {worker.version[:40]}"
    if numbers and (int(numbers[1]), int(numbers[2])) < _OLDEST and worker.version != "0.0.0":
        oldest = ".".join(map(str, _OLDEST))
        found.yellow(
            "worker-version", f"{seen}; the gateway was checked with {oldest} and later", f"update vLLM to {oldest}"
        )
    else:
        found.green("worker-version", seen)


def _take_model(worker: Worker, rows: list[Any], found: Findings) -> bool:
    try:
        row = rows[0]
        worker.model, worker.max_model_len = str(row["id"]), int(row["max_model_len"])
        worker.traits = (str(row.get("root")), str(worker.max_model_len), worker.version)
    except (LookupError, TypeError, ValueError, AttributeError):
        fix = "serve a scoring model: vllm serve MODEL --runner pooling"
        found.red("worker-model", f"{worker.line.name} lists no model with a max_model_len", fix)
        return False
    found.green("worker-model", f"{worker.line.name} serves {worker.model}, {worker.max_model_len} tokens")
    return True


async def _check_health(line: Line, found: Findings) -> None:
    reply = await line.get("/health")
    if reply.status == _OK:
        found.green("worker-health", f"{line.name} says that it is well")
    else:
        found.red("worker-health", f"{line.name} says of its health {reply.told}", "restart vLLM; its log says why")


async def _check_work(worker: Worker, settings: Settings, found: Findings) -> None:
    """Whether it scores; if so, how much at once, and how it cuts."""
    if not await _check_scores(worker, settings, found):
        return
    await _check_queue(worker, settings, found)
    await check_truncation(worker.line, worker.model, worker.max_model_len, settings, found)


async def _check_scores(worker: Worker, settings: Settings, found: Findings) -> bool:
    name = worker.line.name
    try:
        reply = await _score(worker, _TEXTS, _patience_s(settings))
        if reply.status in _NO_ROUTE and b'"error"' not in reply.content:
            fix = "update vLLM, or have the proxy pass /v1/score on: its answers have a tenth of the bytes"
            found.yellow("worker-score-route", f"{name} has no /v1/score; the gateway uses /v1/rerank", fix)
            fields = {"model": worker.model, "query": _QUERY, "documents": list(_TEXTS)}
            reply = await worker.line.post("/v1/rerank", fields, timeout_s=_patience_s(settings))
        else:
            found.green("worker-score-route", f"{name} has /v1/score")
    except NoAnswer as failed:
        fix = "restart vLLM if its engine hangs (/health doesn't tell); if it is slow, raise RERANK_PROBE_TIMEOUT_S"
        found.red("worker-scores", f"{failed.seen} to {len(_TEXTS)} short documents", fix)
        return False
    scores = _scores_in(reply)
    if scores is None:
        fix = "serve a scoring model: vllm serve MODEL --runner pooling; docs/vllm.md has the flags of each family"
        found.red("worker-scores", f"{name} gave no {len(_TEXTS)} finite scores: {reply.told}", fix)
        return False
    worker.scores = scores
    found.green("worker-scores", f"{name} scores {len(_TEXTS)} documents in {1000 * reply.seconds:.0f} ms")
    return True


async def _check_queue(worker: Worker, settings: Settings, found: Findings) -> None:
    """Whether it takes a chunk of the largest size."""
    documents = settings.max_batch
    try:
        reply = await _score(worker, ["Wind power grew."] * documents, 2 * _patience_s(settings))
    except NoAnswer as failed:
        fix = "lower RERANK_MAX_BATCH, or use a faster worker"
        found.yellow("worker-queue", f"{failed.seen} to {documents} documents, a chunk of RERANK_MAX_BATCH", fix)
        return
    if reply.status in _BUSY:
        fix = f"leave --max-num-queued-reqs out, or raise it far above RERANK_MAX_BATCH ({documents})"
        seen = (
            f"{worker.line.name} refuses a chunk of {documents} documents, but not one of {len(_TEXTS)}: {reply.told}"
        )
        found.yellow("worker-queue", seen, fix)
    else:
        found.green("worker-queue", f"{worker.line.name} takes {documents} documents in one call")


def _patience_s(settings: Settings) -> float:
    """How long the gateway's probe waits, as far as there is time for it here."""
    return min(settings.probe_timeout_s, _MOST_PATIENCE_S)


async def _score(worker: Worker, texts: Sequence[str], timeout_s: float) -> Reply:
    fields = {"model": worker.model, "text_1": _QUERY, "text_2": list(texts)}
    return await worker.line.post("/v1/score", fields, timeout_s=timeout_s)


def _scores_in(reply: Reply) -> list[float] | None:
    """The scores by index; None when they aren't n finite numbers."""
    answer = reply.json
    if reply.status != _OK or not isinstance(answer, dict):
        return None
    try:
        rows = sorted(answer.get("data") or answer["results"], key=lambda row: int(row["index"]))
        scores = [row.get("score", row.get("relevance_score")) for row in rows]
        indices = [row["index"] for row in rows]
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    numbers = all(type(score) in {int, float} and abs(score) <= LARGEST_SCORE for score in scores)
    return scores if numbers and indices == list(range(len(_TEXTS))) else None
