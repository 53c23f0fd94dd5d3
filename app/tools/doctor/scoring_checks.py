"""The checks that a worker scores: a few pairs, a chunk of the largest size, and texts that are too long."""

from collections.abc import Sequence

from app.settings import Settings
from app.tools.doctor.findings import Findings
from app.tools.doctor.seen_worker import SeenWorker, probe_timeout_s
from app.tools.doctor.server_client import NoAnswer, Reply
from app.tools.doctor.truncation import check_truncation
from app.types import LARGEST_SCORE

_OK = 200
_BUSY = {429, 503}
_NO_ROUTE = {404, 405}
_QUERY = "What is the capital of France?"
_TEXTS = (
    "The capital of France is Paris.",
    "The capital of Brazil is Brasilia.",
    "France is known for its cheese.",
    "Horses and cows are both animals.",
)


async def check_work(worker: SeenWorker, settings: Settings, found: Findings) -> None:
    """Check that a worker scores; if so, also the largest chunk and how it truncates."""
    if not await _check_scores(worker, settings, found):
        return
    await _check_queue(worker, settings, found)
    await check_truncation(worker.client, worker.model, worker.max_model_len, settings, found)


async def _check_scores(worker: SeenWorker, settings: Settings, found: Findings) -> bool:
    name = worker.client.name
    try:
        reply = await _score(worker, _TEXTS, probe_timeout_s(settings))
        if reply.status in _NO_ROUTE and b'"error"' not in reply.content:
            fix = "update vLLM, or have the proxy pass /v1/score on: its answers have a tenth of the bytes"
            found.yellow("worker-score-route", f"{name} has no /v1/score; the gateway uses /v1/rerank", fix)
            fields = {"model": worker.model, "query": _QUERY, "documents": list(_TEXTS)}
            reply = await worker.client.post("/v1/rerank", fields, timeout_s=probe_timeout_s(settings))
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


async def _check_queue(worker: SeenWorker, settings: Settings, found: Findings) -> None:
    """Check that a worker accepts a chunk of the largest size."""
    documents = settings.max_batch
    try:
        reply = await _score(worker, ["Wind power grew."] * documents, 2 * probe_timeout_s(settings))
    except NoAnswer as failed:
        fix = "lower RERANK_MAX_BATCH, or use a faster worker"
        found.yellow("worker-queue", f"{failed.seen} to {documents} documents, a chunk of RERANK_MAX_BATCH", fix)
        return
    if reply.status in _BUSY:
        fix = f"leave --max-num-queued-reqs out, or raise it far above RERANK_MAX_BATCH ({documents})"
        seen = (
            f"{worker.client.name} refuses a chunk of {documents} documents, but not one of {len(_TEXTS)}: {reply.told}"
        )
        found.yellow("worker-queue", seen, fix)
    else:
        found.green("worker-queue", f"{worker.client.name} takes {documents} documents in one call")


async def _score(worker: SeenWorker, texts: Sequence[str], timeout_s: float) -> Reply:
    fields = {"model": worker.model, "text_1": _QUERY, "text_2": list(texts)}
    return await worker.client.post("/v1/score", fields, timeout_s=timeout_s)


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
