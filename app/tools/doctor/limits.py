"""The checks of what one call may have: documents, bytes and time, and how long an idle connection is kept."""

import secrets

from app.settings import Settings
from app.tools.doctor.findings import Findings
from app.tools.doctor.milvus import replay, usual
from app.tools.doctor.options import FULL_IDLE_S, MILVUS_TIMEOUT_S
from app.tools.doctor.server_client import Reply
from app.tools.doctor.target import Target, fix_for

_TOO_LARGE = 413
_DOCUMENTS = 1000
# A thousand documents of two thousand characters, and of eight thousand.
_USUAL_MB = 2
_LARGE_MB = 8
_MB = 10**6
# Milvus tries three times, with pauses of up to 2.5 s, within one timeout.
_TRIES = 3
_PAUSES_S = 6.0
# Between the gateway's deadline and Milvus's timeout.
_SPARE_S = 5.0
_BATCH = 32
_SIZES = (256, _DOCUMENTS)
_SLOW_S = 2.0
# A larger call is only made where it won't take longer.
_AFFORDABLE_S = 8.0
_TEXT = "Wind and solar power grew last year while coal was burnt less and gas stayed where it had been before. "
_TIMEOUTS = "timeout_ms of the function or function.model.requestTimeout in milvus.yaml (3.0)"


async def check_keep_alive(target: Target, found: Findings, *, idle_s: float) -> None:
    """Check that the server keeps idle connections for longer than Milvus, which else loses a try and a second."""
    closed_s = await target.client.closes_idle_after_s(idle_s)
    if closed_s is None:
        more = "" if idle_s >= FULL_IDLE_S else "; --full waits past the 90 s of Milvus"
        found.green("keep-alive", f"an idle connection is open after {idle_s:g} s{more}")
        return
    fix = "set RERANK_KEEP_ALIVE_S above 90, and that of proxies before it (nginx: keepalive_timeout 120s)"
    if target.kind == "vllm":
        fix = "start vLLM with VLLM_HTTP_TIMEOUT_KEEP_ALIVE=120, or put the gateway in front"
    seen = f"an idle connection is closed after {closed_s:.1f} s: Milvus uses it for up to 90, fails, pauses for 1 s"
    found.yellow("keep-alive", seen, fix)


async def check_documents(target: Target, found: Findings) -> None:
    """Check that a call with 1000 documents is accepted, the number that our guide to Milvus recommends."""
    # Equal ones, which the gateway scores once.
    reply = (await replay(target, usual(target), ["Wind power grew last year."] * _DOCUMENTS)).reply
    seen = f"{_DOCUMENTS} documents in one call: the request {reply.told}"
    if reply.is_ok:
        found.green("documents", f"{_DOCUMENTS} documents in one call are taken")
    elif reply.reason == "silence":
        found.yellow("documents", seen, "see the line about time")
    elif target.kind == "tei":
        fix = "keep max_client_batch_size at the --max-client-batch-size of TEI, or put the gateway over vLLM"
        found.yellow("documents", seen, fix)
    elif target.kind == "vllm":
        fix = "raise --max-num-queued-reqs far above max_client_batch_size, or put the gateway in front"
        found.red("documents", seen, fix)
    else:
        fix = "raise RERANK_MAX_DOCUMENTS, or lower max_client_batch_size in the search"
        found.red("documents", seen, fix if reply.status in {400, 422} else fix_for(reply))


async def check_body(target: Target, found: Findings) -> None:
    """Check that bodies as large as those of large searches arrive.

    The calls have no query, so that the server refuses them after reading, and nothing is scored.
    """
    request = usual(target)
    name = "texts" if request.provider == "tei" else "documents"
    for megabytes in (_USUAL_MB, _LARGE_MB):
        text = "x" * (megabytes * _MB // _DOCUMENTS)
        reply = await target.client.ask(request.path, {name: [text] * _DOCUMENTS})
        if reply.reason or reply.status == _TOO_LARGE:
            tell = found.red if megabytes == _USUAL_MB else found.yellow
            seen = f"a body of {megabytes} MB, {_DOCUMENTS} documents of {megabytes} kB, {reply.told}"
            fix = "raise the body limit of proxies (nginx: client_max_body_size 64m) and RERANK_MAX_BODY_BYTES"
            tell("body", seen, f"{fix}, or lower max_client_batch_size")
            return
    found.green("body", f"a body of {_LARGE_MB} MB is taken")


def check_deadline(settings: Settings, found: Findings, *, milvus_s: float) -> None:
    """Check that the gateway gives up before Milvus does, and no sooner than it did where Milvus waits longer."""
    deadline_s = settings.deadline_s
    seen = f"RERANK_DEADLINE_S is {deadline_s:g}"
    below = max(1, int(milvus_s - _SPARE_S))
    if deadline_s >= milvus_s:
        fix = f"set RERANK_DEADLINE_S to {below} or less, or {_TIMEOUTS} above {1000 * deadline_s:.0f}"
        seen += f", but Milvus gives up after {milvus_s:g} s, and its user never reads why"
        found.red("deadline", seen, f"{fix} and tell this command by --timeout-ms")
    elif milvus_s > MILVUS_TIMEOUT_S >= deadline_s:
        seen += f": slower searches fail, though Milvus would wait {milvus_s:g} s"
        found.yellow("deadline", seen, f"set RERANK_DEADLINE_S to {below}, below {_TIMEOUTS}")
    else:
        found.green("deadline", f"{seen}, below the {milvus_s:g} s of Milvus")


async def check_time(target: Target, found: Findings, *, milvus_s: float) -> None:
    """Check how long 1000 documents take, in one call and in consecutive batches of 32."""
    batch = await _score(target, _BATCH, milvus_s)
    if not batch.is_ok:
        tell = found.red if batch.reason else found.yellow
        tell("time", f"not measured: a call with {_BATCH} documents {batch.told}", fix_for(batch))
        return
    if batch.seconds > _SLOW_S:
        # One worker that hangs makes one call slow, and not the next.
        again = await _score(target, _BATCH, 2 * _SLOW_S)
        batch = again if again.is_ok and again.seconds < batch.seconds else batch
    documents, per_document_s = await _largest(target, batch.seconds / _BATCH)
    whole_s, serial_s = _DOCUMENTS * per_document_s, batch.seconds * _DOCUMENTS / _BATCH
    readable_s = max(1.0, (milvus_s - _PAUSES_S) / _TRIES)
    most = int(readable_s / per_document_s)
    advice = f"set max_client_batch_size to {most // _BATCH * _BATCH or most}" if most > 1 else "use a smaller model"
    fix = f"add workers to RERANK_WORKERS, cut documents with ?max_tokens_per_doc=, or {advice}"
    about = "" if documents == _DOCUMENTS else "about "
    seen = f"{_DOCUMENTS} documents take {about}{whole_s:.1f} s in one call"
    seen += f", about {serial_s:.1f} s in batches of {_BATCH}"
    if whole_s > milvus_s:
        found.red("time", f"{seen}; Milvus gives up on a call after {milvus_s:g} s", fix)
    elif whole_s > readable_s:
        found.yellow("time", f"{seen}; above {readable_s:g} s Milvus has no time for its three tries", fix)
    else:
        found.green("time", seen if about else f"{seen}: set max_client_batch_size to {_DOCUMENTS}")


async def _largest(target: Target, per_document_s: float) -> tuple[int, float]:
    """The documents of the largest call there is time for, and the seconds it takes for each of them."""
    largest = _BATCH
    for documents in _SIZES if target.kind != "tei" else ():
        if documents * per_document_s > _AFFORDABLE_S:
            break
        reply = await _score(target, documents, _AFFORDABLE_S)
        if not reply.is_ok:
            break
        largest, per_document_s = documents, reply.seconds / documents
    return largest, per_document_s


async def _score(target: Target, documents: int, timeout_s: float) -> Reply:
    """The answer to a call with documents that no cache has."""
    texts = [f"{secrets.token_hex(4)} {_TEXT * 3}" for _ in range(documents)]
    request = usual(target)
    return await target.client.ask(request.path, request.body(texts), query="cache=no-store", timeout_s=timeout_s)
