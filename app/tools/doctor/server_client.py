"""The client for one server, with a reason for each call without an answer."""

import asyncio
import base64
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

import httpx
import orjson

from app.settings.certificates import default_context
from app.tools.doctor import go_wire

Reason = Literal["dns", "refused", "certificate", "tls", "silence", "broken"]

_TIMEOUT_S = 10.0
_CONNECT_S = 3.0
_MESSAGE_CHARS = 200


class NoAnswer(Exception):
    """A call without an answer.

    Args:
        reason: The kind of failure.
        seen: The same in words.
    """

    def __init__(self, reason: Reason, seen: str) -> None:
        super().__init__(seen)
        self.reason = reason
        self.seen = seen


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end.

    Args:
        seconds: From the first byte sent to the last one read.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    seconds: float

    @property
    def is_redirect(self) -> bool:
        """True if the answer redirects to another URL."""
        return self.status in {301, 302, 303, 307, 308}

    @property
    def json(self) -> Any:
        """The decoded body; None when it is no JSON, as NaN isn't."""
        try:
            return orjson.loads(self.content)
        except orjson.JSONDecodeError:
            return None

    @property
    def told(self) -> str:
        """The status, and the message of an error body, short enough for a line."""
        answer = self.json
        error = answer.get("error", answer.get("detail", answer.get("message"))) if isinstance(answer, dict) else None
        message = error.get("message") if isinstance(error, dict) else error
        if isinstance(message, str) and message.strip():
            return f"{self.status}: {' '.join(message.split())[:_MESSAGE_CHARS]}"
        kind = self.headers.get("content-type", "").partition(";")[0] or "nothing"
        return str(self.status) if answer is not None else f"{self.status} with {kind}"


@dataclass
class ServerClient:
    """The client for one server.

    Args:
        url: Scheme, host, port and the prefix of all paths; no credentials.
        query: The query string of all calls: Milvus keeps that of its endpoint.
        authorization: Value of the Authorization header; None sends none.
        tls: The context that checks the server's certificate.
    """

    url: httpx.URL
    query: str = ""
    authorization: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext = field(default_factory=default_context)

    def __post_init__(self) -> None:
        # Without a proxy of the environment: Milvus's way to the server is meant.
        # A connection used again may be closed in that very moment, which would look like a server that breaks off.
        self._client = httpx.AsyncClient(
            trust_env=False, verify=self.tls, limits=httpx.Limits(max_keepalive_connections=0)
        )

    @property
    def name(self) -> str:
        """The name of the server in findings."""
        return str(self.url).rstrip("/")

    @property
    def is_local(self) -> bool:
        """True if its name is a loopback one, which means another machine elsewhere."""
        return self.url.host in {"localhost", "::1"} or self.url.host.startswith("127.")

    async def get(self, path: str, *, timeout_s: float = _TIMEOUT_S) -> Reply:
        """The answer to a GET.

        Raises:
            NoAnswer: there is none.
        """
        return await self._send(go_wire.request("GET", self._at(path), self.authorization), timeout_s)

    async def post(
        self,
        path: str,
        fields: Mapping[str, object],
        *,
        query: str = "",
        authorization: str | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> Reply:
        """The answer to a POST as Milvus writes it.

        Args:
            path: The route.
            fields: The body.
            query: Added to the query string.
            authorization: Replaces the usual Authorization header.
            timeout_s: Time limit for the whole call, in seconds.

        Raises:
            NoAnswer: there is none.
        """
        url = self._at(path, query)
        return await self._send(
            go_wire.request("POST", url, authorization or self.authorization, go_wire.marshal(fields)), timeout_s
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def _at(self, path: str, query: str = "") -> httpx.URL:
        wanted = "&".join(part for part in (self.query, query) if part)
        return self.url.copy_with(
            raw_path=(self.url.path.rstrip("/") + path + (f"?{wanted}" if wanted else "")).encode()
        )

    async def _send(self, request: httpx.Request, timeout_s: float) -> Reply:
        request.extensions["timeout"] = httpx.Timeout(timeout_s, connect=_CONNECT_S).as_dict()
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._client.send(request)
        except (TimeoutError, httpx.TimeoutException) as exc:
            connecting = isinstance(exc, httpx.ConnectTimeout)
            what = f"accepted no connection in {_CONNECT_S:g} s" if connecting else f"gave no answer in {timeout_s:g} s"
            raise NoAnswer("silence", f"{self.name} {what}") from exc
        except httpx.HTTPError as exc:
            raise self._without_answer(exc) from exc
        seconds = asyncio.get_running_loop().time() - started
        return Reply(response.status_code, response.headers, response.content, seconds)

    def _without_answer(self, exc: httpx.HTTPError) -> NoAnswer:
        for cause in _causes(exc):
            match cause:
                case ssl.SSLCertVerificationError():
                    return NoAnswer(
                        "certificate", f"the certificate of {self.name} isn't trusted: {cause.verify_message}"
                    )
                case ssl.SSLError():
                    return NoAnswer("tls", f"{self.name} doesn't speak TLS: {cause.reason or 'the handshake failed'}")
                case socket.gaierror():
                    return NoAnswer("dns", f"the name {self.url.host} has no address: {cause.strerror}")
        if isinstance(exc, httpx.ConnectError):
            return NoAnswer("refused", f"nothing listens at {self.name}")
        return NoAnswer("broken", f"{self.name} breaks off without a whole HTTP answer ({type(exc).__name__})")


def client_for(url: str, *, key: str | None = None, tls: ssl.SSLContext | None = None) -> ServerClient:
    """The client for the server at a URL.

    Args:
        url: May hold credentials, which are sent as Basic auth. Its path is ignored, as Milvus does.
        key: Sent as a Bearer token, unless the URL has credentials.
        tls: The context that checks the server's certificate; None trusts the system's authorities.
    """
    given = httpx.URL(url)
    authorization = f"Bearer {key}" if key else None
    if given.userinfo:
        pair = unquote(given.userinfo.decode())
        authorization = "Basic " + base64.b64encode((pair if ":" in pair else f"{pair}:").encode()).decode()
    base = given.copy_with(userinfo=b"", fragment=None, raw_path=b"/")
    return ServerClient(base, given.query.decode(), authorization, tls or default_context())


def _causes(exc: BaseException | None) -> list[BaseException]:
    """The exception and its causes; only these tell errors of TLS and DNS apart in httpx."""
    return [exc, *_causes(exc.__cause__ or exc.__context__)] if exc else []
