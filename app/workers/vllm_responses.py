"""Reading a vLLM server's responses: the scores, models or counts, or the `WorkerError` that says what is wrong.

All of it follows from the answer; `worker`, the worker's name, is what reasons begin with.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from operator import itemgetter
from typing import Any, TypeGuard

import orjson

from app.errors import SAID, BadAnswer, Busy, ContentRejected, Misconfigured, NotFinite, Unavailable
from app.net.http1 import Reply
from app.types import LARGEST_SCORE, Answer
from app.workers.link import Identity, ServedModel

_REASON_BYTES = 300
# Names of models, their roots, versions: all of them are labels of metrics, or parts of cache keys.
_LONGEST_NAME = 512
_LONGEST_QUOTE = 40
_MOST_MODELS = 4096
_LARGEST_COUNT = 2**31 - 1
_REDIRECT = 3
# A rate limit that doesn't say how long it lasts.
_USUAL_BACK_OFF_S = 1.0
# A worker is asked again after this long at the latest, however long it asks the gateway to back off.
_LONGEST_BACK_OFF_S = 30.0
# A word of its own: a model may be called nanbeige.
_TELLS_OF_NAN = re.compile(rb"Out of range float values|\bnan\b", re.IGNORECASE)


def read_scores(reply: Reply, worker: str, documents: int, *, rows: str, score: str) -> Answer:
    """One finite score per document, in the order of the documents.

    Args:
        reply: The answer to a call that scores.
        worker: Its name.
        documents: Documents that were sent.
        rows: The field that lists the scores: `data` or `results`.
        score: The field of a row that holds its score.

    Raises:
        WorkerError: by the status; BadAnswer for any other content.
    """
    answer = read_json(reply, worker)
    try:
        found = answer[rows]
        indices = list(map(itemgetter("index"), found))
        scores = list(map(itemgetter(score), found))
    except (KeyError, TypeError, AttributeError) as exc:
        raise BadAnswer(f"{worker} gave an answer without {rows}[].{score}") from exc
    if len(scores) != documents:
        raise BadAnswer(f"{worker} returned {len(scores)} scores for {documents} documents")
    are_numbers = {*map(type, scores)} <= {float, int}
    if not are_numbers or not -LARGEST_SCORE <= min(scores) <= max(scores) <= LARGEST_SCORE:
        raise NotFinite(f"{worker} returned a score that is no finite number")
    if indices != list(range(documents)):
        scores = _in_order(indices, scores, worker)
    return Answer(scores, _tokens_of(answer))


def _tokens_of(answer: Mapping[str, Any]) -> int:
    """The tokens the worker says it read; 0 when it says nothing that is a count: scores are right without."""
    usage = answer.get("usage")
    tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
    return tokens if _is_count(tokens) else 0


def is_missing_route(reply: Reply) -> bool:
    """True when the server has no such route.

    An unknown route is `{"detail"}` with 404 or 405; an unknown model is 404 with `{"error"}`.
    """
    return reply.status in {404, 405} and b'"error"' not in reply.body


def read_identity(version: Any, listed: Any, worker: str) -> Identity:
    """The worker's identity, from the decoded answers of `/version` and `/v1/models`.

    Raises:
        Misconfigured: other servers than vLLM answer in other forms.
    """
    try:
        told, rows = version["version"], listed["data"]
    except (KeyError, TypeError) as exc:
        reason = f"{worker} tells neither its version nor its models as vLLM does: is it a vLLM server?"
        raise Misconfigured(reason) from exc
    if not _is_name(told):
        raise Misconfigured(f"{worker} says that its version is {_quoted(told)}: is it a vLLM server?")
    if not isinstance(rows, list) or len(rows) > _MOST_MODELS:
        raise Misconfigured(f"{worker} lists no models, or above {_MOST_MODELS}: is it a vLLM server?")
    return Identity(told, [_read_model(row, worker) for row in rows])


def _read_model(row: Any, worker: str) -> ServedModel:
    if not isinstance(row, dict) or not _is_name(name := row.get("id")):
        what = _quoted(row.get("id") if isinstance(row, dict) else row)
        raise Misconfigured(f"{worker} lists a model by the id {what}, which is no name: is it a vLLM server?")
    root, length = row.get("root"), row.get("max_model_len")
    if root is not None and not _is_name(root):
        raise Misconfigured(f"{worker} says that {name} has the root {_quoted(root)}: is it a vLLM server?")
    if not _is_count(length) or not length:
        raise Misconfigured(f"{worker} says that {name} takes {_quoted(length)} tokens: is it a vLLM server?")
    return ServedModel(name, str(root), length)


def read_token_count(answer: Any, worker: str) -> int:
    """The number of a text's tokens, from the decoded answer of `/tokenize`.

    Raises:
        BadAnswer: there is no count in it.
    """
    count = answer.get("count") if isinstance(answer, dict) else None
    if not _is_count(count):
        raise BadAnswer(f"{worker} didn't count tokens")
    return count


def _is_name(value: Any) -> TypeGuard[str]:
    return type(value) is str and 0 < len(value) <= _LONGEST_NAME


def _is_count(value: Any) -> TypeGuard[int]:
    # True is an int, too.
    return type(value) is int and 0 <= value <= _LARGEST_COUNT


def _quoted(value: Any) -> str:
    """A value of a worker, cut to a length that is fit to be shown."""
    shown = repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    return shown if len(shown) <= _LONGEST_QUOTE else f"{shown[:_LONGEST_QUOTE]}..."


def read_json(reply: Reply, worker: str) -> Any:
    """The decoded body of an answer with status 200.

    Raises:
        WorkerError: by another status; BadAnswer for a body that is no JSON.
    """
    _check(reply, worker)
    try:
        return orjson.loads(reply.body)
    except orjson.JSONDecodeError as exc:
        # NaN and Infinity are no JSON either.
        raise BadAnswer(f"{worker} answered with something that is not JSON") from exc


def _check(reply: Reply, worker: str) -> None:
    """Raise the error for a status other than 200."""
    status = reply.status
    if status == HTTPStatus.OK:
        return
    words = message_of(reply.body)
    told = f"{worker} answered {status}: {SAID}"
    if status in {400, 413, 422}:
        # vLLM answers a NaN score with a 400 too: that is the worker's fault, not the client's.
        if _TELLS_OF_NAN.search(reply.body):
            raise NotFinite(told, words=words)
        raise ContentRejected(SAID, words=words)
    if status in {401, 403}:
        raise Misconfigured(f"{told}; check RERANK_WORKER_API_KEY", words=words)
    if status in {404, 405} or status // 100 == _REDIRECT:
        message = f"{told}; check its address in RERANK_WORKERS and the model it serves"
        raise Misconfigured(message, words=words)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise Busy(told, retry_after_s=_retry_after_s(reply.headers) or _USUAL_BACK_OFF_S, words=words)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        raise Busy(told, retry_after_s=_retry_after_s(reply.headers), words=words)
    raise Unavailable(told, words=words)


def message_of(body: bytes) -> str:
    """The message in an error body of any shape, cut to a length that is fit to be shown."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return f"{len(body)} bytes that are not JSON"
    error = answer.get("error", answer.get("detail", answer.get("message"))) if isinstance(answer, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    if not isinstance(message, str):
        return "no message"
    # Cut by bytes: 300 Chinese characters would be 900 of them.
    return message.encode()[:_REASON_BYTES].decode(errors="ignore")


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` in seconds, 30 at most; its date form is ignored, no inference server sends it."""
    value = headers.get("retry-after", "")
    if not value.isascii() or not value.isdigit():
        return None
    return min(_LONGEST_BACK_OFF_S, float(value))


def _in_order(indices: list[Any], scores: list[float], worker: str) -> list[float]:
    by_index = {index: value for index, value in zip(indices, scores, strict=True) if type(index) is int}
    if by_index.keys() != set(range(len(scores))):
        raise BadAnswer(f"{worker} returned indices that are not 0 to {len(scores) - 1}, once each")
    return [by_index[index] for index in range(len(scores))]
