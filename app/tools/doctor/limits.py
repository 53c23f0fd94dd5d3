"""The checks of how many documents and bytes one call may have."""

from app.tools.doctor.findings import Findings
from app.tools.doctor.fixes import fix_for, told
from app.tools.doctor.milvus import replay, usual
from app.tools.doctor.server_client import NoAnswer, Reply
from app.tools.doctor.target import Target

_OK = 200
_TOO_LARGE = 413
_DOCUMENTS = 1000
# A thousand documents of two thousand characters, and of eight thousand.
_USUAL_MB = 2
_LARGE_MB = 8
_MB = 10**6


async def check_documents(target: Target, found: Findings) -> None:
    """Check that a call with 1000 documents is accepted, the number that our guide to Milvus recommends."""
    # Equal ones, which the gateway scores once.
    reply = await replay(target, usual(target), ["Wind power grew last year."] * _DOCUMENTS)
    if isinstance(reply, Reply) and reply.status == _OK:
        found.green("documents", f"{_DOCUMENTS} documents in one call are taken")
    elif isinstance(reply, NoAnswer) and reply.reason == "silence":
        found.yellow("documents", f"{_DOCUMENTS} documents in one call: {reply.seen}", "see the line about time")
    elif target.kind == "tei":
        fix = "keep max_client_batch_size at the --max-client-batch-size of TEI, or put the gateway over vLLM"
        found.yellow("documents", f"{_DOCUMENTS} documents in one call: the request {told(reply)}", fix)
    elif target.kind == "vllm":
        fix = "raise --max-num-queued-reqs far above max_client_batch_size, or put the gateway in front"
        found.red("documents", f"{_DOCUMENTS} documents in one call: the request {told(reply)}", fix)
    else:
        fix = "raise RERANK_MAX_DOCUMENTS, or lower max_client_batch_size in the search"
        is_limit = isinstance(reply, Reply) and reply.status in {400, 422}
        found.red(
            "documents",
            f"{_DOCUMENTS} documents in one call: the request {told(reply)}",
            fix if is_limit else fix_for(reply),
        )


async def check_body(target: Target, found: Findings) -> None:
    """Check that bodies as large as those of large searches arrive.

    The calls have no query, so that the server refuses them after reading, and nothing is scored.
    """
    for megabytes in (_USUAL_MB, _LARGE_MB):
        why = await _refusal(target, megabytes)
        if why is None:
            continue
        tell = found.red if megabytes == _USUAL_MB else found.yellow
        fix = (
            "raise the limit of the proxy before the gateway (nginx: client_max_body_size 64m) and "
            "RERANK_MAX_BODY_BYTES, or lower max_client_batch_size"
        )
        tell("body", f"a body of {megabytes} MB, {_DOCUMENTS} documents of {megabytes} kB, {why}", fix)
        return
    found.green("body", f"a body of {_LARGE_MB} MB is taken")


async def _refusal(target: Target, megabytes: int) -> str | None:
    request = usual(target)
    name = "texts" if request.provider == "tei" else "documents"
    text = "x" * (megabytes * _MB // _DOCUMENTS)
    try:
        reply = await target.client.post(request.path, {name: [text] * _DOCUMENTS})
    except NoAnswer as failed:
        return f"got no answer: {failed.seen}"
    return f"was answered {reply.told}" if reply.status == _TOO_LARGE else None
