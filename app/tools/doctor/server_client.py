"""The client for one server, which writes as Milvus's proxy does: Go's encoding/json and net/http, byte for byte."""

import asyncio
import json
import re
import ssl
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from socket import gaierror
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import orjson

from app.net.http1 import Broken, Connections, TooLong
from app.settings.certificates import default_context
from app.workers.vllm import read_url
from app.workers.vllm_responses import message_of

Reason = Literal["dns", "refused", "certificate", "tls", "silence", "broken"]

_CONNECT_S = 3.0
_MOST_BYTES = 64 * 2**20
# The format that zlib is to expect.
_GZIP = 31
_ESCAPED = {"<": r"\u003c", ">": r"\u003e", "&": r"\u0026", "\u2028": r"\u2028", "\u2029": r"\u2029"}


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end, or the reason for having none.

    Args:
        status: Of HTTP; 0 without an answer.
        seconds: From the first byte sent to the last one read.
        reason: The kind of failure when there is no answer.
        failure: The same in words.
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    reason: Reason | None = None
    failure: str = ""

    @property
    def is_ok(self) -> bool:
        """True for status 200, the only one that Milvus takes scores from."""
        return self.status == HTTPStatus.OK

    @property
    def is_redirect(self) -> bool:
        """True if the answer redirects to another URL."""
        return self.status in {301, 302, 303, 307, 308}

    @property
    def json(self) -> Any:
        """The decoded body; None when it is no JSON, as NaN isn't."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None

    @property
    def message(self) -> str:
        """The status and the message of an error body, or the failure, in one line."""
        return self.failure or f"{self.status}: {' '.join(message_of(self.body).split())}"

    @property
    def told(self) -> str:
        """The answer, worded to follow the call in a sentence."""
        return f"got no answer: {self.failure}" if self.reason else f"was answered {self.message}"


class ServerClient:
    """The client for one server.

    It takes no proxy of the environment, as Milvus's way to the server is meant, and a new connection for each call:
    one that is used again may be closed in that very moment, which would look like a server that breaks off.

    Args:
        url: Of the server. Credentials in it are sent as Basic auth, its query string with each call, as Milvus does.
        key: Sent as a Bearer token, unless the URL has credentials.
        tls: Checks the server's certificate; None trusts the system's authorities.
    """

    def __init__(self, url: str, *, key: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        base, _, basic = read_url(url)
        parts = urlsplit(base)
        self.name = base
        self.host = parts.hostname or ""
        self.is_secure = parts.scheme == "https"
        self.authorization = basic or (f"Bearer {key}" if key else "")
        self._query = urlsplit(url).query
        self._prefix, self._netloc = parts.path, parts.netloc
        self._port = parts.port or (443 if self.is_secure else 80)
        self._tls = (tls or default_context()) if self.is_secure else None
        self._connections = Connections(
            self.host, self._port, tls=self._tls, connect_timeout_s=_CONNECT_S, idle_s=_CONNECT_S
        )

    async def ask(
        self, path: str, fields: object = None, *, query: str = "", authorization: str = "", timeout_s: float = 10.0
    ) -> Reply:
        """The answer to a POST as Milvus writes it, or to a GET when there is no body.

        Args:
            path: The route.
            fields: The body.
            query: Added to the query string.
            authorization: Replaces the usual Authorization header.
            timeout_s: Time limit for the whole call, in seconds.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        body = b"" if fields is None else _marshal(fields)
        head = self._head(path, query, body, authorization or self.authorization)
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit:
                answer = await self._connections.request(
                    lambda: head, body, max_answer_bytes=_MOST_BYTES, is_alone=True
                )
        except (OSError, Broken, TooLong) as exc:
            if limit.expired():
                return Reply(reason="silence", failure=f"{self.name} gave no answer in {timeout_s:g} s")
            return self._failed(exc)
        content = _unpacked(answer.body) if answer.headers.get("content-encoding") == "gzip" else answer.body
        return Reply(answer.status, answer.headers, content, loop.time() - started)

    async def closes_idle_after_s(self, wait_s: float) -> float | None:
        """The seconds after which the server closes a connection that is idle; None when it is open after `wait_s`.

        Raises:
            OSError: there is no connection.
        """
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection(self.host, self._port, ssl=self._tls)
        writer.write(f"GET /version HTTP/1.1\r\nHost: {self._netloc}\r\n\r\n".encode())
        heard = loop.time()
        try:
            with suppress(ConnectionError):
                async with asyncio.timeout(wait_s) as limit:
                    while await reader.read(2**16):
                        heard = loop.time()
                        limit.reschedule(heard + wait_s)
            return loop.time() - heard
        except TimeoutError:
            return None
        finally:
            writer.transport.abort()

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def _head(self, path: str, query: str, body: bytes, authorization: str) -> bytes:
        """The head as Go's client orders it: its own headers, then those of the caller, then gzip."""
        whole = "&".join(part for part in (self._query, query) if part)
        target = quote(f"{self._prefix}{path}{'?' if whole else ''}{whole}", safe="/%:@!$&'()*+,;=~?")
        lines = [f"{'POST' if body else 'GET'} {target} HTTP/1.1", f"Host: {self._netloc}"]
        lines += ["User-Agent: Go-http-client/1.1", *([f"Content-Length: {len(body)}"] if body else [])]
        lines += [f"Authorization: {authorization}"] if authorization else []
        lines += ["Content-Type: application/json"] if body else []
        return "\r\n".join([*lines, "Accept-Encoding: gzip", "", ""]).encode()

    def _failed(self, exc: Exception) -> Reply:
        match exc:
            case ssl.SSLCertVerificationError():
                why = f"the certificate of {self.name} isn't trusted: {exc.verify_message}"
                return Reply(reason="certificate", failure=why)
            case ssl.SSLError() | ConnectionResetError() | ConnectionAbortedError() if self.is_secure:
                return Reply(reason="tls", failure=f"{self.name} doesn't speak TLS: {exc}")
            case gaierror():
                return Reply(reason="dns", failure=f"the name {self.host} has no address: {exc.strerror}")
            case TimeoutError():
                return Reply(reason="silence", failure=f"{self.name} accepted no connection in {_CONNECT_S:g} s")
            case OSError():
                return Reply(reason="refused", failure=f"nothing listens at {self.name}")
        return Reply(reason="broken", failure=f"{self.name} breaks off without a whole HTTP answer")


def _marshal(fields: object) -> bytes:
    """A JSON object as Go's `json.Marshal` writes it: with sorted keys, and `<>&` escaped."""
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return re.sub("[<>&\u2028\u2029]", lambda found: _ESCAPED[found[0]], text).encode()


def _unpacked(body: bytes) -> bytes:
    with suppress(zlib.error):
        return zlib.decompressobj(_GZIP).decompress(body, _MOST_BYTES)
    return body
