"""The link to a vLLM server, over HTTP."""

import base64
import re
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpx
import orjson

from app.errors import BadAnswer, Busy, Dropped, Misconfigured, Refused, Unavailable, Unreachable, Vanished
from app.fleet.connections import Broken, Connections, Reply, TooLong
from app.fleet.link import Identity, ServedModel
from app.spans import current_span
from app.work import LARGEST_SCORE, Answer, Chunk

# vLLM closes idle connections after 5 s; one that we let go first can't die under a call.
_IDLE_CONNECTION_S = 2.5
_IDENTIFY_TIMEOUT_S = 5.0
# 65 bytes per score in vLLM's answers, 20,000 documents at most by default, and room for a rerank answer's echo.
_MAX_ANSWER_BYTES = 64 * 2**20
# `/tokenize` lists every token of a query, which may have a million characters.
_MAX_RARE_ANSWER_BYTES = 16 * 2**20
_REASON_BYTES = 300
_REDIRECT = 3
# A rate limit that doesn't say how long it lasts.
_USUAL_REST_S = 1.0
# A word of its own: a model may be called nanbeige.
_TELLS_OF_NAN = re.compile(rb"Out of range float values|\bnan\b", re.IGNORECASE)


class HttpLink:
    """A vLLM server.

    Scores go through `Connections`, everything rare through httpx: decision 0013 has the measurement. Scores are asked
    for on `/v1/score`, which doesn't echo the documents; a worker without that route is asked on `/v1/rerank`.

    Args:
        url: Where the server listens; a `/v1`, `/rerank` or `/score` at its end is ignored. Credentials in it are
            sent as Basic auth.
        api_key: The server's `--api-key`.
        connect_timeout_s: Time for a connection to come about.
        tls: How the certificate of an https server is checked, and which is shown; None for what the system trusts.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        connect_timeout_s: float = 2.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.url, self.name, basic = _read_url(url)
        self._headers = {"Content-Type": "application/json"}
        if api_key or basic:
            self._headers["Authorization"] = f"Bearer {api_key}" if api_key else basic
        self._connect_timeout_s = connect_timeout_s
        parts = urlsplit(self.url)
        is_https = parts.scheme == "https"
        self._tls = (tls or ssl.create_default_context()) if is_https else None
        self._path = quote(parts.path, safe="/%:@!$&'()*+,;=~")
        self._lines = "".join(f"{name}: {value}\r\n" for name, value in {"Host": parts.netloc, **self._headers}.items())
        self._connections = Connections(
            parts.hostname or "",
            parts.port or (443 if is_https else 80),
            tls=self._tls,
            connect_timeout_s=connect_timeout_s,
            idle_s=_IDLE_CONNECTION_S,
            max_answer_bytes=_MAX_ANSWER_BYTES,
        )
        self._has_score_route = True
        self._rare: httpx.AsyncClient | None = None

    async def identify(self) -> Identity:
        version = await self._ask("GET", "/version")
        listed = await self._ask("GET", "/v1/models")
        # A worker that was replaced may be a newer one.
        self._has_score_route = True
        try:
            models = [ServedModel(row["id"], str(row.get("root")), int(row["max_model_len"])) for row in listed["data"]]
            return Identity(str(version["version"]), models)
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            reason = f"{self.name} lists its models in a form that vLLM doesn't use: is it a vLLM server?"
            raise Misconfigured(reason) from exc

    async def count_tokens(self, model: str, text: str) -> int:
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        answer = await self._ask("POST", "/tokenize", content=orjson.dumps(body))
        try:
            return int(answer["count"])
        except (KeyError, TypeError, ValueError) as exc:
            raise BadAnswer(f"{self.name} didn't count tokens") from exc

    async def score(self, chunk: Chunk) -> Answer:
        if self._has_score_route:
            status, headers, body = await self._post("/v1/score", _score_call(chunk), chunk.caller.request_id)
            if not _is_missing_route(status, body):
                self._check(status, headers, body)
                return self._read(body, len(chunk.pairs), rows="data", score="score")
            self._has_score_route = False
        if len(chunk.pairs.queries) > 1:
            raise Misconfigured(f"{self.name} has no /v1/score, which pairs with different queries need: update vLLM")
        status, headers, body = await self._post("/v1/rerank", _rerank_call(chunk), chunk.caller.request_id)
        self._check(status, headers, body)
        return self._read(body, len(chunk.pairs), rows="results", score="relevance_score")

    async def close(self) -> None:
        self._connections.close()
        if self._rare:
            await self._rare.aclose()

    async def _post(self, path: str, body: bytes, request_id: str) -> Reply:
        """Send one call and read its whole answer; what goes wrong becomes a `WorkerError` here."""
        span = current_span.get()
        span.posts(self.url, path)
        try:
            reply = await self._connections.post(self._head(path, len(body), request_id, span.headers), body)
        except Broken as exc:
            if exc.answered:
                raise Dropped(f"{self.name} broke off in the middle of its answer") from exc
            raise Vanished(f"{self.name} closed the connection without an answer") from exc
        except TooLong as exc:
            raise BadAnswer(f"{self.name} sent an answer above {_MAX_ANSWER_BYTES} bytes") from exc
        except ssl.SSLError as exc:
            raise self._distrust() from exc
        except TimeoutError as exc:
            raise Unreachable(f"{self.name} didn't accept a connection in {self._connect_timeout_s:g} s") from exc
        except OSError as exc:
            raise Unreachable(f"{self.name} refused the connection") from exc
        span.answered(reply.status)
        return reply

    def _head(self, path: str, size_bytes: int, request_id: str, traced: Mapping[str, str]) -> bytes:
        more = "".join(f"{name}: {value}\r\n" for name, value in traced.items())
        first = f"POST {self._path}{path} HTTP/1.1\r\n"
        return f"{first}{self._lines}X-Request-Id: {request_id}\r\n{more}Content-Length: {size_bytes}\r\n\r\n".encode()

    async def _ask(self, method: str, path: str, content: bytes | None = None) -> Any:
        """One rare call; its decoded JSON."""
        if self._rare is None:
            timeout = httpx.Timeout(_IDENTIFY_TIMEOUT_S, connect=self._connect_timeout_s)
            limits = httpx.Limits(keepalive_expiry=_IDLE_CONNECTION_S)
            # Like the scoring calls, these don't go through a proxy of the environment.
            self._rare = httpx.AsyncClient(
                base_url=self.url,
                headers={**self._headers, "Accept-Encoding": "identity"},
                timeout=timeout,
                limits=limits,
                trust_env=False,
                # Nothing is there to be verified without https, and what the system trusts takes 20 ms to load.
                verify=self._tls or False,
            )
        try:
            async with self._rare.stream(method, path, content=content) as response:
                body = await self._read_rare(response)
        except httpx.TransportError as exc:
            if _is_about_tls(exc):
                raise self._distrust() from exc
            what = "the connection was refused" if isinstance(exc, httpx.ConnectError) else type(exc).__name__
            raise Unreachable(f"{self.name} didn't answer {path}: {what}") from exc
        except RuntimeError as exc:
            # All that httpx says to who asks a link that was closed meanwhile.
            raise Unreachable(f"{self.name} has left") from exc
        self._check(response.status_code, response.headers, body)
        return self._decode(body)

    async def _read_rare(self, response: httpx.Response) -> bytes:
        """The answer as it was sent: it wasn't asked for compressed, and would unfold to 1000 times its size."""
        body = bytearray()
        async for part in response.aiter_raw():
            body += part
            if len(body) > _MAX_RARE_ANSWER_BYTES:
                raise BadAnswer(f"{self.name} sent an answer above {_MAX_RARE_ANSWER_BYTES} bytes")
        return bytes(body)

    def _distrust(self) -> Misconfigured:
        """TLS didn't come about."""
        return Misconfigured(
            f"{self.name} and the gateway don't trust each other; check the certificates in RERANK_WORKER_CA_FILE and "
            "RERANK_WORKER_CERT_FILE, and whether its URL has the name in its own"
        )

    def _check(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Raises what a status other than 200 means."""
        if status == HTTPStatus.OK:
            return
        words = _message_of(body)
        told = f"{self.name} answered {status}: {words}"
        if status in {400, 413, 422}:
            # vLLM answers a NaN score with a 400 too: that is the worker's fault, not the client's.
            if _TELLS_OF_NAN.search(body):
                raise BadAnswer(told, words=words)
            raise Refused(words, words=words)
        if status in {401, 403}:
            raise Misconfigured(f"{told}; check RERANK_WORKER_API_KEY", words=words)
        if status in {404, 405} or status // 100 == _REDIRECT:
            message = f"{told}; check its address in RERANK_WORKERS and the model it serves"
            raise Misconfigured(message, words=words)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise Busy(told, retry_after_s=_seconds(headers.get("retry-after")) or _USUAL_REST_S, words=words)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise Busy(told, retry_after_s=_seconds(headers.get("retry-after")), words=words)
        raise Unavailable(told, words=words)

    def _read(self, body: bytes, documents: int, *, rows: str, score: str) -> Answer:
        answer = self._decode(body)
        try:
            found = answer[rows]
            indices = [row["index"] for row in found]
            scores = [row[score] for row in found]
            tokens = answer.get("usage", {}).get("total_tokens", 0)
        except (KeyError, TypeError, AttributeError) as exc:
            raise BadAnswer(f"{self.name} gave an answer without {rows}[].{score}") from exc
        if len(scores) != documents:
            raise BadAnswer(f"{self.name} returned {len(scores)} scores for {documents} documents")
        are_numbers = all(type(value) is float or type(value) is int for value in scores)
        if not are_numbers or not -LARGEST_SCORE <= min(scores) <= max(scores) <= LARGEST_SCORE:
            raise BadAnswer(f"{self.name} returned a score that is no finite number")
        if indices != list(range(documents)):
            scores = self._in_order(indices, scores)
        return Answer(scores, tokens if type(tokens) is int else 0)

    def _in_order(self, indices: list[Any], scores: list[float]) -> list[float]:
        by_index = {index: value for index, value in zip(indices, scores, strict=True) if type(index) is int}
        if by_index.keys() != set(range(len(scores))):
            raise BadAnswer(f"{self.name} returned indices that are not 0 to {len(scores) - 1}, once each")
        return [by_index[index] for index in range(len(scores))]

    def _decode(self, body: bytes) -> Any:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as exc:
            # NaN and Infinity are no JSON either.
            raise BadAnswer(f"{self.name} answered with something that is not JSON") from exc


def _score_call(chunk: Chunk) -> bytes:
    queries = chunk.pairs.queries
    # text_1 and text_2 are the names that every release with a score route knows.
    texts = {"text_1": queries[0] if len(queries) == 1 else queries, "text_2": chunk.pairs.documents}
    return orjson.dumps({"model": chunk.fingerprint.model, **texts, **chunk.fields})


def _rerank_call(chunk: Chunk) -> bytes:
    texts = {"query": chunk.pairs.queries[0], "documents": chunk.pairs.documents}
    return orjson.dumps({"model": chunk.fingerprint.model, **texts, **chunk.fields})


def _is_missing_route(status: int, body: bytes) -> bool:
    """An unknown route is `{"detail"}` with 404 or 405; an unknown model is 404 with `{"error"}`."""
    return status in {404, 405} and b'"error"' not in body


def _is_about_tls(exc: BaseException | None) -> bool:
    """Whether a failed connection failed for its certificates; httpx tells only through what it came from."""
    return exc is not None and (isinstance(exc, ssl.SSLError) or _is_about_tls(exc.__cause__ or exc.__context__))


def _message_of(body: bytes) -> str:
    """The message in an error body of any shape, cut to a length that is fit to be shown."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return f"{len(body)} bytes that are not JSON"
    error = answer.get("error", answer.get("detail")) if isinstance(answer, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    if not isinstance(message, str):
        return "no message"
    # Cut by bytes: 300 Chinese characters would be 900 of them.
    return message.encode()[:_REASON_BYTES].decode(errors="ignore")


def _seconds(retry_after: str | None) -> float | None:
    """`Retry-After` in seconds; its date form is ignored, no inference server sends it."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None


def _read_url(url: str) -> tuple[str, str, str]:
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
