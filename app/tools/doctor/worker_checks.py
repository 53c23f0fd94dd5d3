"""The checks of one worker, asked over the gateway's own link: that the gateway can work with it."""

import asyncio
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from socket import gaierror

from app.errors import AttemptTimeout, Busy, ClosedBeforeResponse, Unreachable, WorkerError
from app.policy.model_profile import profile_from
from app.policy.suspicion import suspicion_of
from app.settings import Settings
from app.tools.doctor.findings import CHECKS, Findings
from app.tools.doctor.options import Options
from app.tools.doctor.server_client import ServerClient
from app.types import Fingerprint, Pairs, text_of
from app.workers.check_scores import check
from app.workers.fingerprinter import PROBE_PAIRS, Fingerprinter
from app.workers.vllm import VllmLink

_REQUEST_ID = "rerank-gateway-doctor"
_MAX_PROBE_TIMEOUT_S = 5.0
# The gateway closes an idle connection to a worker after 2.5 s.
_IDLE_S = 3.0
# Scoring was checked with this release and the one after it.
_OLDEST = (0, 32)
_SCHEME = "correct the scheme and port in RERANK_WORKERS"
# By what the link raises, or what made it: the first that fits.
_FIXES: Mapping[type[Exception], str] = {
    ssl.SSLCertVerificationError: "name the authority in RERANK_WORKER_CA_FILE, and workers as their certificates do",
    ssl.SSLError: "write http:// in RERANK_WORKERS, or start vLLM with --ssl-certfile and --ssl-keyfile",
    gaierror: "correct the host in RERANK_WORKERS",
    TimeoutError: "look for a firewall, and restart vLLM if it hangs",
    ClosedBeforeResponse: _SCHEME,
    ConnectionResetError: _SCHEME,
    ConnectionAbortedError: _SCHEME,
    Unreachable: "start vLLM there (--host 0.0.0.0 if elsewhere), wait while it loads, or correct RERANK_WORKERS",
    WorkerError: "correct RERANK_WORKERS or RERANK_WORKER_API_KEY; let proxies pass /v1/models, /version, /v1/score",
}
_QUERY = text_of(PROBE_PAIRS.queries[0])


@dataclass(eq=False)
class Worker:
    """One worker, and what was observed of it.

    Args:
        link: The gateway's own way to it.
        client: The way to what the gateway never asks for.
        settings: The gateway's.
        serves: The first model it lists; None until that is known.
        scores: Its scores of the probe's pairs; empty until they are known.
    """

    link: VllmLink
    client: ServerClient
    settings: Settings
    serves: Fingerprint | None = None
    scores: Sequence[float] = ()

    @property
    def model(self) -> str:
        """The name of that model."""
        return self.serves.model if self.serves else ""

    async def score(self, pairs: Pairs, *, times: int = 1, **fields: int) -> Sequence[float]:
        """The scores of one call.

        Raises:
            WorkerError: it gives none, or none in the probe's limit, taken `times` times.
        """
        timeout_s = times * min(self.settings.probe_timeout_s, _MAX_PROBE_TIMEOUT_S)
        try:
            async with asyncio.timeout(timeout_s):
                return (await self.link.score(self.model, pairs, fields, request_id=_REQUEST_ID)).scores
        except TimeoutError as exc:
            raise AttemptTimeout(f"{self.link.name} gave no answer in {timeout_s:g} s") from exc


async def examine(worker: Worker, options: Options, *, until: float) -> Findings:
    """The findings about one worker until a time on the loop's clock; observations are kept in `worker`."""
    found = Findings(until, about=worker.link.name)
    await found.run(_check_access(worker, found), "worker-answers")
    if worker.serves:
        await asyncio.gather(
            found.run(_check_health(worker, found), "worker-health"),
            found.run(_check_keep_alive(worker, found, idle_s=min(options.idle_s, _IDLE_S)), "worker-keep-alive"),
            found.run(_check_scoring(worker, found), *CHECKS["Scores of workers"]),
        )
    return found


async def _check_access(worker: Worker, found: Findings) -> None:
    """Check that the worker is a vLLM server that lets the gateway in and has a model, which other checks need."""
    name = worker.link.name
    try:
        models = await Fingerprinter(worker.settings).identify(worker.link)
    except WorkerError as exc:
        fix = next(fix for cause, fix in _FIXES.items() if isinstance(exc, cause) or isinstance(exc.__cause__, cause))
        found.red("worker-answers", exc.message, fix)
        return
    found.green("worker-answers", f"{name} answers as vLLM does, and takes the key")
    if not models:
        found.red("worker-model", f"{name} lists no model", "serve a scoring model: vllm serve MODEL --runner pooling")
        return
    worker.serves = model = next(iter(models.values()))
    found.green("worker-model", f"{name} serves {model.model}, {model.max_model_len} tokens")
    numbers = re.match(r"(\d+)\.(\d+)", model.version)
    seen = f"{name} is vLLM {model.version[:40]}"
    if numbers and (int(numbers[1]), int(numbers[2])) < _OLDEST and model.version != "0.0.0":
        oldest = ".".join(map(str, _OLDEST))
        seen += f"; the gateway was checked with {oldest} and later"
        found.yellow("worker-version", seen, f"update vLLM to {oldest}")
    else:
        found.green("worker-version", seen)


async def _check_health(worker: Worker, found: Findings) -> None:
    reply = await worker.client.ask("/health")
    if reply.is_ok:
        found.green("worker-health", f"{worker.link.name} says that it is well")
    else:
        seen = f"{worker.link.name} says of its health {reply.message}"
        found.red("worker-health", seen, "restart vLLM; its log says why")


async def _check_keep_alive(worker: Worker, found: Findings, *, idle_s: float) -> None:
    """Check that a worker keeps idle connections for longer than the gateway does."""
    closed_s = await worker.client.closes_idle_after_s(idle_s)
    if closed_s is None:
        found.green("worker-keep-alive", f"{worker.link.name} keeps idle connections for {idle_s:g} s and more")
        return
    seen = f"{worker.link.name} closes idle connections after {closed_s:.1f} s; the gateway uses them for 2.5"
    fix = "start vLLM with VLLM_HTTP_TIMEOUT_KEEP_ALIVE=5 or more, and raise the idle time of proxies on the way"
    found.yellow("worker-keep-alive", seen, fix)


async def _check_scoring(worker: Worker, found: Findings) -> None:
    """Check that a worker scores; if so, also its route, the largest chunk and whether it ranks."""
    name, count = worker.link.name, len(PROBE_PAIRS)
    started = asyncio.get_running_loop().time()
    try:
        worker.scores = await worker.score(PROBE_PAIRS)
    except WorkerError as exc:
        fix = "serve a scoring model: vllm serve MODEL --runner pooling; docs/vllm.md has the flags of each family"
        if isinstance(exc, AttemptTimeout):
            fix = "restart vLLM if its engine hangs (/health doesn't tell); if it is slow, raise RERANK_PROBE_TIMEOUT_S"
        found.red("worker-scores", f"{name} doesn't score {count} short documents: {exc.message}", fix)
        return
    took_ms = 1000 * (asyncio.get_running_loop().time() - started)
    found.green("worker-scores", f"{name} scores {count} documents in {took_ms:.0f} ms")
    await _check_route(worker, found)
    await _check_queue(worker, found)
    await _check_ranking(worker, found)


async def _check_route(worker: Worker, found: Findings) -> None:
    """Check that there is `/v1/score`: only it takes a query per document."""
    try:
        await worker.score(Pairs([_QUERY] * 2, PROBE_PAIRS.documents[:2]))
    except WorkerError as exc:
        seen = f"{worker.link.name} scores over /v1/rerank: {exc.message}"
        fix = "update vLLM, or have the proxy pass /v1/score on: its answers have a tenth of the bytes"
        found.yellow("worker-score-route", seen, fix)
    else:
        found.green("worker-score-route", f"{worker.link.name} has /v1/score")


async def _check_queue(worker: Worker, found: Findings) -> None:
    """Check that a worker accepts a chunk of the largest size."""
    documents = worker.settings.max_batch
    try:
        await worker.score(Pairs([_QUERY], ["Wind power grew."] * documents), times=2)
    except WorkerError as exc:
        fix = "lower RERANK_MAX_BATCH, or use a faster worker"
        if isinstance(exc, Busy):
            fix = f"leave --max-num-queued-reqs out, or raise it far above RERANK_MAX_BATCH ({documents})"
        seen = f"{worker.link.name} scores {len(PROBE_PAIRS)} documents, but no chunk of {documents} documents"
        found.yellow("worker-queue", f"{seen}: {exc.message}", fix)
    else:
        found.green("worker-queue", f"{worker.link.name} takes {documents} documents in one call")


async def _check_ranking(worker: Worker, found: Findings) -> None:
    """Check that the model's scores mean something, as the gateway does when it first sees a model."""
    name, model = worker.link.name, worker.serves
    if model is None:
        return

    async def score(pairs: Pairs, fields: Mapping[str, int]) -> Sequence[float]:
        return await worker.score(pairs, **fields)

    own = worker.settings.for_model(model.model)
    try:
        result = await check(score, model, own)
    except WorkerError as exc:
        fix = "see what it says of its scores; docs/vllm.md has the flags of each family"
        found.yellow("worker-ranking", f"{name}: not checked: {exc.message}", fix)
        return
    profile = profile_from(own.traits, result.learned)
    if result.says_nothing:
        fix = "compare its ranking with what its documentation shows"
        found.yellow("worker-ranking", f"{name}: not checked: {model.model} has no room for a sentence", fix)
    elif suspicion := suspicion_of(result, model, used=profile.truncation):
        seen = f"{model.model} on {name} is served wrongly, likeliest for {suspicion.cause}: {suspicion.seen}"
        found.yellow("worker-ranking", seen, suspicion.fix)
    else:
        kind = profile.kind.replace("_", " ")
        found.green("worker-ranking", f"{model.model} on {name} ranks as it should, and looks like: {kind}")
