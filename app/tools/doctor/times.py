"""The checks of how long searches take: Milvus waits 30 s for one call."""

import secrets
from typing import NamedTuple

from app.settings import Settings
from app.tools.doctor.findings import Findings
from app.tools.doctor.fixes import fix_for
from app.tools.doctor.milvus import usual
from app.tools.doctor.server_client import NoAnswer
from app.tools.doctor.target import Target

_OK = 200
_MILVUS_TIMEOUT_S = 30.0
# Three tries and their pauses fit into Milvus's 30 s.
_READABLE_S = 8.0
_BATCH = 32
_SEARCH = 1000
_SIZES = (_BATCH, 256, _SEARCH)
_SLOW_S = 2.0
# A larger call is only made where it won't take longer.
_AFFORDABLE_S = 8.0
_TEXT = "Wind and solar power grew last year while coal was burnt less and gas stayed where it had been before. "


class _Speed(NamedTuple):
    """The measured times of a batch of Milvus's default size, and of the largest call there was time for."""

    batch_s: float
    documents: int
    seconds: float

    def call_s(self, documents: int) -> float:
        """The time of one call, in seconds, in proportion to the largest measured."""
        return self.seconds * documents / self.documents

    def most_within(self, seconds: float) -> int:
        """The most documents that one call has time for, rounded down to whole batches where there is more than one."""
        most = max(1, int(self.documents * seconds / self.seconds))
        return most // _BATCH * _BATCH or most


async def check_time(target: Target, found: Findings) -> None:
    """Check how long 1000 documents take, in one call and in consecutive batches of 32."""
    try:
        speed = await _measured(target)
    except NoAnswer as failed:
        found.red("time", f"{_BATCH} documents: {failed.seen}", fix_for(failed))
        return
    if isinstance(speed, str):
        found.yellow("time", f"not measured: {_BATCH} documents {speed}", "heal what is red, then run it again")
        return
    whole_s, serial_s = speed.call_s(_SEARCH), speed.batch_s * _SEARCH / _BATCH
    about = "" if speed.documents == _SEARCH else "about "
    seen = f"{_SEARCH} documents take {about}{whole_s:.1f} s in one call, about {serial_s:.1f} s in batches of {_BATCH}"
    if whole_s > _MILVUS_TIMEOUT_S:
        found.red("time", f"{seen}; Milvus gives up on a call after {_MILVUS_TIMEOUT_S:g} s", _slower(speed))
    elif whole_s > _READABLE_S:
        found.yellow("time", f"{seen}; above {_READABLE_S:g} s Milvus has no time for its three tries", _slower(speed))
    else:
        found.green("time", seen if about else f"{seen}: set max_client_batch_size to {_SEARCH}")


def check_deadline(settings: Settings, found: Findings) -> None:
    """Check that the gateway gives up before Milvus does."""
    deadline_s = settings.deadline_s
    if deadline_s >= _MILVUS_TIMEOUT_S:
        seen = f"RERANK_DEADLINE_S is {deadline_s:g}, but Milvus gives up after {_MILVUS_TIMEOUT_S:g} s"
        found.red("deadline", f"{seen}, and its user never reads why", "set RERANK_DEADLINE_S to 25 or less")
    else:
        found.green("deadline", f"RERANK_DEADLINE_S is {deadline_s:g}, below the {_MILVUS_TIMEOUT_S:g} s of Milvus")


async def _measured(target: Target) -> _Speed | str:
    """The measured speed, or in words the answer that came instead of scores."""
    first = await _timed(target, _BATCH)
    if isinstance(first, str):
        return first
    if first > _SLOW_S:
        # One worker that hangs makes one call slow, and not the next.
        first = min(first, await _timed_within(target, _BATCH, 2 * _SLOW_S) or first)
    speed = _Speed(first, _BATCH, first)
    for documents in _SIZES[1:] if target.kind != "tei" else ():
        if speed.call_s(documents) > _AFFORDABLE_S:
            break
        seconds = await _timed_within(target, documents, _AFFORDABLE_S)
        if seconds is None:
            break
        speed = _Speed(first, documents, seconds)
    return speed


async def _timed_within(target: Target, documents: int, timeout_s: float) -> float | None:
    """The seconds of a call; None when it wasn't answered with scores in time."""
    try:
        seconds = await _timed(target, documents, timeout_s=timeout_s)
    except NoAnswer:
        return None
    return None if isinstance(seconds, str) else seconds


async def _timed(target: Target, documents: int, *, timeout_s: float = _MILVUS_TIMEOUT_S) -> float | str:
    """The seconds a call takes with documents that no cache has; in words what came instead of scores."""
    request = usual(target)
    texts = [f"{secrets.token_hex(4)} {_TEXT * 3}" for _ in range(documents)]
    reply = await target.client.post(request.path, request.body(texts), query="cache=no-store", timeout_s=timeout_s)
    return reply.seconds if reply.status == _OK else f"were answered {reply.told}"


def _slower(speed: _Speed) -> str:
    most = speed.most_within(_READABLE_S)
    advice = f"set max_client_batch_size to {most}" if most > 1 else "use a smaller model"
    return f"add workers to RERANK_WORKERS, cut documents with ?max_tokens_per_doc=, or {advice}"
