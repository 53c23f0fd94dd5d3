"""Milvus's requests, replayed byte for byte, with checks of the answers, the errors and the keys."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from app.tools.doctor.answer_checks import Asked, judge
from app.tools.doctor.findings import Findings
from app.tools.doctor.target import Target, fix_for, is_about_model

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
_SHUT_OUT = {401, 403}
# Paths that no url in milvus.yaml has, which Milvus calls as it is written.
_NO_URLS = {"", "/v1", "/v2"}
_RERUN = "heal what is red, then run it again"
_STEADY = "a listwise model needs kind: listwise in RERANK_MODELS; else serve in float32 (--dtype)"


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

    def __str__(self) -> str:
        return f"POST {self.path} of {self.title}"


_USUAL = Request("milvus-2.6", "/rerank", "Milvus 2.6")
_TEI = Request("milvus-tei", "/rerank", "the provider tei", "tei")
_OTHERS = (
    Request("milvus-2.6.0", "/v2/rerank", "Milvus 2.6.0"),
    # 3.0 sends its documents in an order of its own, and so the same bytes each time.
    Request("milvus-3.0", "/rerank", "Milvus 3.0"),
    Request(
        "milvus-truncate", "/rerank", "a search with truncate_prompt_tokens", fields={"truncate_prompt_tokens": -1}
    ),
    _TEI._replace(fields={"truncate": True, "truncation_direction": "Right"}),
)


def usual(target: Target) -> Request:
    """The request that a Milvus search sends to this target."""
    return _TEI if target.kind == "tei" else _USUAL


async def replay(target: Target, request: Request, texts: Sequence[str] = _TEXTS, *, query: str = "") -> Asked:
    """The answer to a request."""
    reply = await target.client.ask(request.path, request.body(texts), query=query)
    return Asked(request.provider, len(texts), reply)


async def check_first(target: Target, found: Findings) -> Asked | None:
    """The answer to a usual request; None when it failed, as all others then would."""
    request = usual(target)
    asked = await replay(target, request)
    reply = asked.reply
    if reply.is_ok:
        found.green(request.check, f"{request} is answered")
        if asked.model:
            found.green("model", f"requests that name no model, as Milvus's, get {asked.model}")
        return asked
    check = "key" if reply.status in _SHUT_OUT else "model" if is_about_model(reply) else request.check
    found.red(check, f"{request} {reply.told}", f"{fix_for(reply)}; then run this again")
    return None


async def check_requests(target: Target, first: Asked, found: Findings) -> None:
    """Replay the other requests, and check all answers against the rules."""
    requests = [request for request in _OTHERS if target.kind != "tei" or request.provider == "tei"]
    answers = await asyncio.gather(*(replay(target, request) for request in requests))
    for request, asked in zip(requests, answers, strict=True):
        seen = f"{request} {asked.reply.told}"
        if asked.reply.is_ok:
            found.green(request.check, f"{request} is answered")
        elif request.provider == "tei" and target.kind != "gateway":
            found.yellow(request.check, seen, 'use the provider "vllm", or put the gateway in front')
        else:
            found.red(request.check, seen, fix_for(asked.reply))
    judge([first, *(asked for asked in answers if asked.reply.is_ok)], found)
    scores = first.by_document
    if scores and (gap := abs(scores[0] - scores[3])) > _ALIKE:
        found.yellow("duplicates", f"equal documents get scores {gap:.3f} apart", _STEADY)
    elif scores:
        found.green("duplicates", "equal documents get equal scores, a result each")


async def check_voyageai(target: Target, first: Asked, path: str, found: Findings) -> None:
    """Check where the provider `voyageai` gets its own shape: in any other it gives every document 0, silently.

    Args:
        target: The server.
        first: Its answer to a usual request.
        path: The endpoint's, since a url in milvus.yaml is called as it is written.
        found: Findings, to which its own is added.
    """
    places = [("/voyage/rerank", ""), ("/rerank", "dialect=voyage")]
    if is_url := path.rstrip("/") not in _NO_URLS:
        places.insert(0, (path.rstrip("/"), ""))
    request = Request(
        "milvus-voyageai", places[0][0], "the provider voyageai", "voyageai", {"model": first.model or "any"}
    )
    answers = [await replay(target, request._replace(path=place), query=query) for place, query in places]
    right = next((number for number, asked in enumerate(answers) if asked.by_document), None)
    reply = answers[0].reply
    told = "is answered in another shape, and every document scores 0" if reply.is_ok else reply.told
    if right is None:
        fix = "use another provider, or put the gateway in front and end the url in milvus.yaml with /voyage/rerank"
        found.yellow(request.check, f"{request} {told}", fix)
        return
    url = target.client.name + "?".join(filter(None, places[right]))
    if right and is_url:
        fix = f"write {url} as url of voyageai; cohere and siliconflow are right with /rerank"
        found.yellow(request.check, f"{request} {told}", fix)
    else:
        found.green(request.check, f"the provider voyageai is answered in its own shape; its url is {url}")


async def check_order(target: Target, first: Asked, found: Findings) -> None:
    """Check that documents get the same scores in another order: Milvus 2.6 sends them in a new one each time."""
    order = [3, 0, 4, 2, 1]
    # Cached scores would be the same in any case.
    again = await replay(target, usual(target), [_TEXTS[place] for place in order], query="cache=no-store")
    before, after = first.by_document, again.by_document
    if before is None or after is None:
        found.yellow("order", "could not be checked: there are no scores to compare", _RERUN)
        return
    gap = max(abs(before[place] - score) for place, score in zip(order, after, strict=True))
    if gap > _ALIKE:
        seen = f"scores move by up to {gap:.3f} when the documents come in another order, as they do in every search"
        found.yellow("order", seen, _STEADY)
    else:
        found.green("order", "documents have the same scores in any order")


async def check_trailing_slash(target: Target, found: Findings) -> None:
    """Check that a URL with a slash at its end, as in milvus.yaml, is served."""
    reply = (await replay(target, usual(target)._replace(path="/rerank/"))).reply
    tell = found.red if target.kind == "gateway" else found.yellow
    if reply.is_ok:
        found.green("trailing-slash", "/rerank/ is served without a redirect")
    else:
        tell("trailing-slash", f"POST /rerank/ {reply.told}", "end urls in milvus.yaml with /rerank, without a slash")


async def check_errors(target: Target, found: Findings) -> None:
    """Check that errors have an error status, and are short enough for Milvus to show them to its users."""
    empty = (await replay(target, usual(target), [])).reply
    if not empty.is_ok and empty.json is not None and len(empty.body) <= _ERROR_BYTES:
        found.green("error-body", f"errors are JSON and short: {len(empty.body)} bytes")
    else:
        seen = empty.failure or f"{empty.status} with {len(empty.body)} bytes"
        fix = "put the gateway in front, and have no proxy write its own errors (nginx: proxy_intercept_errors off)"
        found.yellow("error-body", f"a wrong request gets {seen}: Milvus shows all of it to its user", fix)
    if target.kind == "tei":
        return
    unknown = (await replay(target, usual(target)._replace(fields={"model": "no-such-model"}), _TEXTS[:1])).reply
    if unknown.is_ok:
        fix = "fine if an alias in RERANK_MODELS, or the embedded worker, takes all names; else a proxy drops the model"
        found.yellow("unknown-model", "a model that doesn't exist is answered with scores of another", fix)
    else:
        found.green("unknown-model", f"a model that doesn't exist {unknown.told}")


async def check_keys(target: Target, found: Findings) -> None:
    """Check that the given key, which the first request was accepted with, is needed, and a wrong one refused."""
    has_key = bool(target.client.authorization)
    request = usual(target)
    reply = await target.client.ask(request.path, request.body(["any"]), authorization="Bearer no-such-key")
    found.green("key", "the key is accepted" if has_key else "no key is needed")
    if reply.status in _SHUT_OUT:
        found.green("wrong-key", f"a wrong key is refused: {reply.message}")
    elif not has_key:
        found.green("wrong-key", "there are no keys: whoever reaches the port may call")
    elif not reply.is_ok:
        found.yellow("wrong-key", f"not checked: a call with a wrong key {reply.told}", _RERUN)
    else:
        fix = "set RERANK_API_KEYS or RERANK_API_KEYS_FILE"
        if target.kind == "vllm":
            fix = "vLLM's --api-key guards paths below /v1 and /v2 only: put the gateway in front, with RERANK_API_KEYS"
        found.yellow("wrong-key", "a wrong key is answered with scores: nobody looks at keys on /rerank", fix)
