"""Milvus's requests, replayed byte for byte, with checks of the answers."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from app.tools.doctor.answer_checks import Asked, judge
from app.tools.doctor.findings import Findings
from app.tools.doctor.fixes import fix_for, is_about_model, told
from app.tools.doctor.server_client import NoAnswer, Reply
from app.tools.doctor.target import Target

_OK = 200
_QUERY = "renewable energy > fossil fuels"
# Go's escapes, an empty text, one text twice, what invalid UTF-8 becomes, and a zero byte.
_TEXTS = (
    "Wind & solar <b>power</b> grew last year.",
    "",
    "Coal is burnt in power stations.",
    "Wind & solar <b>power</b> grew last year.",
    "a \ufffd b \u2028 c \0 d",
)
_ALIKE = 1e-3
_ERROR_BYTES = 1000


class Request(NamedTuple):
    """One request of Milvus; `fields` are those besides query and documents."""

    check: str
    path: str
    title: str
    provider: str = "vllm"
    fields: Mapping[str, object] = {}

    def body(self, texts: Sequence[str]) -> dict[str, object]:
        """The body for `texts`."""
        documents = "texts" if self.provider == "tei" else "documents"
        return {"query": _QUERY, documents: list(texts), **self.fields}


_USUAL = Request("milvus-2.6", "/rerank", "Milvus 2.6")
_TEI = Request("milvus-tei", "/rerank", "the provider tei", "tei")
_REQUESTS = (
    Request("milvus-2.6.0", "/v2/rerank", "Milvus 2.6.0"),
    # 3.0 sends its documents in an order of its own, and so the same bytes each time.
    Request("milvus-3.0", "/rerank", "Milvus 3.0"),
    Request(
        "milvus-truncate", "/rerank", "a search with truncate_prompt_tokens", fields={"truncate_prompt_tokens": -1}
    ),
    Request("milvus-tei", "/rerank", "the provider tei", "tei", {"truncate": True, "truncation_direction": "Right"}),
)


def usual(target: Target) -> Request:
    """The request that a Milvus search sends to this target."""
    return _TEI if target.kind == "tei" else _USUAL


async def check_first(target: Target, found: Findings) -> Asked | None:
    """The answer to a usual request; None when it failed, as all others then would."""
    request = usual(target)
    reply = await replay(target, request, _TEXTS)
    if isinstance(reply, Reply) and reply.status == _OK:
        found.green(request.check, f"POST {request.path} of {request.title} is answered")
        model = reply.json.get("model") if isinstance(reply.json, dict) else None
        if isinstance(model, str):
            found.green("model", f"requests that name no model, as Milvus's, get {model[:100]}")
        return Asked(request.provider, len(_TEXTS), reply)
    check = request.check
    if isinstance(reply, Reply):
        check = "key" if reply.status in {401, 403} else "model" if is_about_model(reply) else check
    found.red(check, f"POST {request.path} of {request.title} {told(reply)}", f"{fix_for(reply)}; then run this again")
    return None


async def check_requests(target: Target, first: Asked, found: Findings) -> None:
    """Replay the other requests, and check all answers against the rules."""
    answers = [first]
    requests = [request for request in _REQUESTS if target.kind != "tei" or request.provider == "tei"]
    replies = await asyncio.gather(*(replay(target, request, _TEXTS) for request in requests))
    for request, reply in zip(requests, replies, strict=True):
        what = f"POST {request.path} of {request.title}"
        if isinstance(reply, Reply) and reply.status == _OK:
            answers.append(Asked(request.provider, len(_TEXTS), reply))
            found.green(request.check, f"{what} is answered")
        elif request.provider == "tei" and target.kind != "gateway":
            found.yellow(request.check, f"{what} {told(reply)}", 'use the provider "vllm", or put the gateway in front')
        else:
            found.red(request.check, f"{what} {told(reply)}", fix_for(reply))
    judge(answers, found)
    _check_duplicates(first, found)


async def check_order(target: Target, first: Asked, found: Findings) -> None:
    """Check that documents get the same scores in another order: Milvus 2.6 sends them in a new one each time."""
    order = [3, 0, 4, 2, 1]
    # Cached scores would be the same in any case.
    reply = await replay(target, usual(target), [_TEXTS[place] for place in order], query="cache=no-store")
    again = Asked(first.provider, len(order), reply).by_document if isinstance(reply, Reply) else None
    before = first.by_document
    if again is None or before is None:
        found.yellow(
            "order", "could not be checked: there are no scores to compare", "heal what is red, then run it again"
        )
        return
    gap = max(abs(before[place] - score) for place, score in zip(order, again, strict=True))
    if gap <= _ALIKE:
        found.green("order", "documents have the same scores in any order")
        return
    found.yellow(
        "order",
        f"scores move by up to {gap:.3f} when the documents come in another order: ranks differ from search to search",
        "a listwise model needs listwise in RERANK_MODELS; else serve in float32 (--dtype)",
    )


async def check_trailing_slash(target: Target, found: Findings) -> None:
    """Check that a URL with a slash at its end, as in milvus.yaml, is served."""
    reply = await replay(target, usual(target)._replace(path="/rerank/"), _TEXTS)
    if isinstance(reply, Reply) and reply.status == _OK:
        found.green("trailing-slash", "/rerank/ is served without a redirect")
        return
    tell = found.red if target.kind == "gateway" else found.yellow
    tell("trailing-slash", f"POST /rerank/ {told(reply)}", "end urls in milvus.yaml with /rerank, without a slash")


async def check_errors(target: Target, found: Findings) -> None:
    """Check that errors have an error status, and are short enough for Milvus to show them to its users."""
    empty, unknown = await asyncio.gather(
        replay(target, usual(target), []),
        replay(target, usual(target)._replace(fields={"model": "no-such-model"}), _TEXTS[:1]),
    )
    if (
        isinstance(empty, Reply)
        and empty.status != _OK
        and len(empty.content) <= _ERROR_BYTES
        and empty.json is not None
    ):
        found.green("error-body", f"errors are JSON and short: {len(empty.content)} bytes")
    else:
        seen = empty.seen if isinstance(empty, NoAnswer) else f"{empty.status} with {len(empty.content)} bytes"
        fix = "put the gateway in front, and have no proxy write its own errors (nginx: proxy_intercept_errors off)"
        found.yellow("error-body", f"a wrong request gets {seen}: Milvus shows all of it to its user", fix)
    if target.kind == "tei":
        return
    if isinstance(unknown, Reply) and unknown.status == _OK:
        fix = "names that are meant belong into the aliases of RERANK_MODELS; look for a proxy that drops the model"
        found.yellow("unknown-model", "a model that doesn't exist is answered with scores of another", fix)
    else:
        found.green("unknown-model", f"a model that doesn't exist {told(unknown)}")


async def replay(target: Target, request: Request, texts: Sequence[str], *, query: str = "") -> Reply | NoAnswer:
    """The answer to a request, or the reason for having none."""
    try:
        return await target.client.post(request.path, request.body(texts), query=query)
    except NoAnswer as failed:
        return failed


def _check_duplicates(first: Asked, found: Findings) -> None:
    scores = first.by_document
    if scores is None:
        return
    gap = abs(scores[0] - scores[3])
    if gap <= _ALIKE:
        found.green("duplicates", "equal documents get equal scores, a result each")
    else:
        fix = "a listwise model needs listwise in RERANK_MODELS; else serve in float32 (--dtype)"
        found.yellow("duplicates", f"equal documents get scores {gap:.3f} apart", fix)
