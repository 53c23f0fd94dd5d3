"""The link to a vLLM server, over HTTP."""

import base64
import errno
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpx
import orjson

from app.errors import BadAnswer, Dropped, Misconfigured, OutOfFiles, Unreachable, Vanished, WorkerError
from app.fleet.connections import Broken, Connections, Reply, TooLong
from app.fleet.link import Identity
from app.fleet.reading import is_missing_route, read_identity, read_json, read_scores, read_token_count
from app.spans import current_span
from app.work import Answer, Chunk

# vLLM closes idle connections after 5 s; one that we let go first can't die under a call.
_IDLE_CONNECTION_S = 2.5
_IDENTIFY_TIMEOUT_S = 5.0
# 65 bytes per score in vLLM's answers, 20,000 documents at most by default, and room for a rerank answer's echo.
_MAX_ANSWER_BYTES = 64 * 2**20
# `/tokenize` lists every token of a query, which may have a million characters.
_MAX_RARE_ANSWER_BYTES = 16 * 2**20


class VllmLink:
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
        return read_identity(version, listed, self.name)

    async def score(self, chunk: Chunk) -> Answer:
        documents = len(chunk.pairs)
        if self._has_score_route:
            reply = await self._post("/v1/score", _score_call(chunk), chunk.caller.request_id)
            if not is_missing_route(reply):
                return read_scores(reply, self.name, documents, rows="data", score="score")
            self._has_score_route = False
        if len(chunk.pairs.queries) > 1:
            raise Misconfigured(f"{self.name} has no /v1/score, which pairs with different queries need: update vLLM")
        reply = await self._post("/v1/rerank", _rerank_call(chunk), chunk.caller.request_id)
        return read_scores(reply, self.name, documents, rows="results", score="relevance_score")

    async def count_tokens(self, model: str, text: str) -> int:
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        answer = await self._ask("POST", "/tokenize", content=orjson.dumps(body))
        return read_token_count(answer, self.name)

    async def close(self) -> None:
        self._connections.close()
        if self._rare:
            await self._rare.aclose()

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
        return read_json(Reply(response.status_code, response.headers, body), self.name)

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
            raise _no_connection(self.name, exc) from exc
        span.answered(reply.status)
        return reply

    def _head(self, path: str, size_bytes: int, request_id: str, traced: Mapping[str, str]) -> bytes:
        more = "".join(f"{name}: {value}\r\n" for name, value in traced.items())
        first = f"POST {self._path}{path} HTTP/1.1\r\n"
        return f"{first}{self._lines}X-Request-Id: {request_id}\r\n{more}Content-Length: {size_bytes}\r\n\r\n".encode()


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


def _no_connection(name: str, exc: OSError) -> WorkerError:
    """Why no connection to a worker came about."""
    if exc.errno in {errno.EMFILE, errno.ENFILE}:
        return OutOfFiles(f"the gateway may open no more files, so none for {name}: raise its limit (ulimit -n)")
    return Unreachable(f"{name} refused the connection")


def _is_about_tls(exc: BaseException | None) -> bool:
    """Whether a failed connection failed for its certificates; httpx tells only through what it came from."""
    return exc is not None and (isinstance(exc, ssl.SSLError) or _is_about_tls(exc.__cause__ or exc.__context__))


def _score_call(chunk: Chunk) -> bytes:
    queries = chunk.pairs.queries
    # text_1 and text_2 are the names that every release with a score route knows.
    texts = {"text_1": queries[0] if len(queries) == 1 else queries, "text_2": chunk.pairs.documents}
    return orjson.dumps({"model": chunk.fingerprint.model, **texts, **chunk.fields})


def _rerank_call(chunk: Chunk) -> bytes:
    texts = {"query": chunk.pairs.queries[0], "documents": chunk.pairs.documents}
    return orjson.dumps({"model": chunk.fingerprint.model, **texts, **chunk.fields})
