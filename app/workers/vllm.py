"""The link to a vLLM server, over HTTP."""

import asyncio
import base64
import errno
import socket
import ssl
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import orjson

from app.errors import (
    AttemptTimeout,
    BadAnswer,
    ClosedBeforeResponse,
    ClosedMidResponse,
    ContentRejected,
    LacksRoute,
    Misconfigured,
    OutOfFiles,
    Unreachable,
)
from app.net.http1 import Broken, Connections, Reply, TooLong
from app.settings.certificates import default_context
from app.telemetry.spans import current_span
from app.types import Answer, Content, Pairs
from app.workers.call_ids import CallIds
from app.workers.link import Identity
from app.workers.vllm_responses import is_missing_route, read_identity, read_json, read_scores, read_token_count

# vLLM closes idle connections after 5 s; one that is closed here first can't die under a call.
_IDLE_CONNECTION_S = 2.5
_QUICK_ANSWER_S = 5.0
# How long an answer may be follows from what was asked: JSON of 64 MB can take 1.5 GB when it is read.
_SHORTEST_LIMIT_BYTES = 64 * 2**10
# vLLM's rows take 65 bytes, and in answers of /v1/rerank the document besides.
_ROW_BYTES = 512
# Errors of vLLM, and /v1/rerank, quote what they were sent; written in ASCII it may take twice as much.
_QUOTED = 2
# A text has a token for each byte at most, which takes 7 bytes in the answer of /tokenize.
_BYTES_PER_TOKEN = 16
# An entry of /v1/models takes 500 bytes; one adapter is an entry, and some servers have a thousand.
_MAX_MODELS_BYTES = 2 * 2**20
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class VllmLink:
    """A vLLM server.

    Scores are asked for on `/v1/score`, which doesn't echo the documents; a worker without that route is asked on
    `/v1/rerank`.

    Args:
        url: The server's address; a `/v1`, `/rerank` or `/score` at its end is ignored. Credentials in it are
            sent as Basic auth.
        api_key: The server's `--api-key`.
        connect_timeout_s: Time for a connection to come about.
        tls: Checks the certificate of an https server, and shows ours; None trusts what the system trusts.
        call_ids: Make the ids of its calls, and of those to other workers.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        connect_timeout_s: float = 2.0,
        tls: ssl.SSLContext | None = None,
        call_ids: CallIds | None = None,
    ) -> None:
        self.url, self.name, basic = read_url(url)
        parts = urlsplit(self.url)
        is_https = parts.scheme == "https"
        headers = {"Host": parts.netloc, "Content-Type": "application/json"}
        if api_key or basic:
            headers["Authorization"] = f"Bearer {api_key}" if api_key else basic
        self._lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._path = quote(parts.path, safe="/%:@!$&'()*+,;=~")
        self._call_ids = call_ids or CallIds()
        self._connect_timeout_s = connect_timeout_s
        self._connections = Connections(
            parts.hostname or "",
            parts.port or (443 if is_https else 80),
            tls=(tls or default_context()) if is_https else None,
            connect_timeout_s=connect_timeout_s,
            idle_s=_IDLE_CONNECTION_S,
        )
        self._has_score_route = True
        self._has_left = False

    async def identify(self) -> Identity:
        version = await self._ask("/version", max_answer_bytes=_MAX_MODELS_BYTES)
        listed = await self._ask("/v1/models", max_answer_bytes=_MAX_MODELS_BYTES)
        # A worker that was replaced may be a newer one.
        self._has_score_route = True
        return read_identity(version, listed, self.name)

    async def score(self, model: str, pairs: Pairs, fields: Mapping[str, Any], *, request_id: str) -> Answer:
        queries, documents = pairs.queries, len(pairs)
        if self._has_score_route:
            # text_1 and text_2 are the names that every release with a score route knows. Releases up to 0.14 take the
            # parts of content by itself for as many queries, but refuse it in a list.
            query = queries[0] if len(queries) == 1 and isinstance(queries[0], str) else queries
            call = _written({"model": model, "text_1": query, "text_2": pairs.documents, **fields})
            reply = await self._score("/v1/score", call, documents, request_id)
            if reply.status == HTTPStatus.INTERNAL_SERVER_ERROR and _names_addresses(pairs):
                # vLLM's answer when the host is down, which says nothing about the worker.
                raise ContentRejected("no worker could fetch the image")
            if not is_missing_route(reply):
                return read_scores(reply, self.name, documents, rows="data", score="score")
            self._has_score_route = False
        if len(queries) > 1:
            raise LacksRoute(f"{self.name} has no /v1/score, which pairs with different queries need: update its vLLM")
        if pairs.hold_images():
            raise LacksRoute(f"{self.name} has no /v1/score, which images need: update its vLLM")
        call = _written({"model": model, "query": queries[0], "documents": pairs.documents, **fields})
        reply = await self._score("/v1/rerank", call, documents, request_id)
        return read_scores(reply, self.name, documents, rows="results", score="relevance_score")

    async def count_tokens(self, model: str, text: str, *, request_id: str) -> int:
        call = orjson.dumps({"model": model, "prompt": text, "add_special_tokens": False})
        answer = await self._ask(
            "/tokenize", call, max_answer_bytes=_BYTES_PER_TOKEN * len(call), request_id=request_id
        )
        return read_token_count(answer, self.name)

    async def close(self) -> None:
        self._has_left = True
        self._connections.close()

    async def _score(self, path: str, call: bytes, documents: int, request_id: str) -> Reply:
        """The answer to one call that scores so many documents."""
        span = current_span.get()
        span.posts(self.url, path)
        reply = await self._call(
            path,
            call,
            request_id=request_id,
            headers=span.headers,
            max_answer_bytes=_ROW_BYTES * documents + _QUOTED * len(call),
        )
        span.answered(reply.status)
        return reply

    async def _ask(self, path: str, call: bytes = b"", *, max_answer_bytes: int, request_id: str = "") -> Any:
        """The decoded JSON of an answer that takes no worker long."""
        try:
            async with asyncio.timeout(_QUICK_ANSWER_S):
                reply = await self._call(path, call, max_answer_bytes=max_answer_bytes, request_id=request_id)
        except TimeoutError as exc:
            raise AttemptTimeout(f"{self.name} didn't answer {path} in {_QUICK_ANSWER_S:g} s") from exc
        return read_json(reply, self.name)

    async def _call(
        self,
        path: str,
        body: bytes,
        *,
        max_answer_bytes: int,
        request_id: str = "",
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> Reply:
        """Send one call, a GET without a body, and read its whole answer; all failures become `WorkerError` here.

        A GET goes on a new connection: a kept one may end as it is used, and a probe should see whether the worker
        accepts any.
        """
        if self._has_left:
            raise Unreachable(f"{self.name} has left")
        head = partial(self._head, path, len(body), request_id, headers)
        try:
            limit_bytes = _SHORTEST_LIMIT_BYTES + max_answer_bytes
            return await self._connections.request(head, body, max_answer_bytes=limit_bytes, is_alone=not body)
        except Broken as exc:
            if exc.answered:
                raise ClosedMidResponse(f"{self.name} broke off in the middle of its answer") from exc
            raise ClosedBeforeResponse(f"{self.name} closed the connection without an answer") from exc
        except TooLong as exc:
            raise BadAnswer(f"{self.name} sent {exc}") from exc
        except ssl.SSLError as exc:
            raise Misconfigured(
                f"{self.name} and the gateway don't trust each other; check the certificates in RERANK_WORKER_CA_FILE "
                "and RERANK_WORKER_CERT_FILE, and whether its URL has the name in its own"
            ) from exc
        except TimeoutError as exc:
            raise Unreachable(f"{self.name} didn't accept a connection in {self._connect_timeout_s:g} s") from exc
        except socket.gaierror as exc:
            raise Unreachable(f"{self.name} can't be looked up: {exc.strerror}") from exc
        except OSError as exc:
            if exc.errno in {errno.EMFILE, errno.ENFILE}:
                message = f"the gateway may open no more files, so none for {self.name}: raise its limit (ulimit -n)"
                raise OutOfFiles(message) from exc
            raise Unreachable(f"{self.name} {_trouble_of(exc)}") from exc

    def _head(self, path: str, body_bytes: int, request_id: str, headers: Mapping[str, str]) -> bytes:
        """The head of a call that is about to be sent: what is sent again, on another connection, is another call."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        if request_id:
            lines += f"X-Request-Id: {self._call_ids.new(request_id)}\r\n"
        first = f"{'POST' if body_bytes else 'GET'} {self._path}{path} HTTP/1.1\r\n"
        return f"{first}{self._lines}{lines}Content-Length: {body_bytes}\r\n\r\n".encode()


def _written(call: Mapping[str, Any]) -> bytes:
    return orjson.dumps(call, default=_written_side, option=orjson.OPT_PASSTHROUGH_DATACLASS)


def _written_side(side: object) -> object:
    """Content in vLLM's shape; orjson asks for what it can't write by itself."""
    if not isinstance(side, Content):
        raise TypeError
    return {
        "content": [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image_url", "image_url": {"url": part.url}}
            for part in side.parts
        ]
    }


def _names_addresses(pairs: Pairs) -> bool:
    """True when a worker fetches images for these pairs."""
    sides = (side for side in (*pairs.queries, *pairs.documents) if not isinstance(side, str))
    return any(image.host for side in sides for image in side.images)


def _trouble_of(exc: OSError) -> str:
    """The reason why no connection came about."""
    match exc:
        case ConnectionRefusedError():
            return "refused the connection"
        case ConnectionResetError() | ConnectionAbortedError():
            # TCP's handshake was over: it was TLS's, or the server's listener closed.
            return "closed the connection while it was being set up"
    return f"can't be reached: {exc.strerror or exc}"


def read_url(url: str) -> tuple[str, str, str]:
    """A worker's base URL, its name without credentials, and its Basic auth header or ""."""
    parts = urlsplit(url.strip())
    path = parts.path.rstrip("/")
    for suffix in ("/rerank", "/score", "/v1", "/v2"):
        path = path.removesuffix(suffix)
    name = parts.netloc.rpartition("@")[2] + path
    basic = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        basic = "Basic " + base64.b64encode(pair.encode()).decode()
    return f"{parts.scheme}://{name}", name, basic
