"""An API server of raw sockets that keeps EndpointSlices, and fails in every way a test asks for.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/, "Efficient detection of changes".
"""

import asyncio
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.listening import listening

_END, _ABORT = b"", None


@dataclass
class Ask:
    method: str
    path: str
    asked: dict[str, str]
    token: str
    body: Any

    @property
    def is_watch(self) -> bool:
        return "watch" in self.asked


@dataclass
class FakeKubernetes:
    """`refusals` are used up one per list or watch; `token` is what it takes just now."""

    token: str = "token-1"
    refusals: deque[int] = field(default_factory=deque)
    url: str = ""
    asks: list[Ask] = field(default_factory=list)
    _slices: dict[str, Any] = field(default_factory=dict)
    _version: int = 100
    _events: list[tuple[int, bytes]] = field(default_factory=list)
    _oldest: int = 0
    _watches: set["asyncio.Queue[bytes | None]"] = field(default_factory=set)

    @property
    def watches(self) -> int:
        return len(self._watches)

    @property
    def lists(self) -> int:
        return sum(ask.method == "GET" and not ask.is_watch for ask in self.asks)

    @asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["FakeKubernetes"]:
        async with listening(self._serve, tls=tls) as port:
            self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
            yield self

    def bookmark(self) -> None:
        """Tell all watches how far time has come: other objects than theirs have changed."""
        self._version += 100
        self.tell(_event("BOOKMARK", {"metadata": {"resourceVersion": str(self._version)}}))

    def tell_error(self, code: int) -> None:
        """Send an error in the stream of all watches, and end them."""
        self.tell(_event("ERROR", _status(code, "something happened")))
        self.tell(_END)

    def forget(self) -> None:
        """What happened so far can't be watched any more."""
        self._oldest = self._version + 1
        self._version += 1

    def restore(self) -> None:
        """Go back to before anything was written, as an etcd from a backup; nobody is told."""
        self._version = 100
        self._slices.clear()
        self._events.clear()

    def end_watches(self) -> None:
        """End all watches, as after their `timeoutSeconds`."""
        self.tell(_END)

    def break_watches(self) -> None:
        """Break off all watches in the middle of a line."""
        self.tell(b'{"type":"ADD')
        self.tell(_ABORT)

    def tell(self, line: bytes | None) -> None:
        """Send a line to all watches as it is; an empty one ends them, None breaks them off."""
        for watch in self._watches:
            watch.put_nowait(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while ask := await _read_ask(reader):
                await self._answer(ask, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            # Both sides of a TLS connection take a few turns of the loop to part.
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, ask: Ask, writer: asyncio.StreamWriter) -> None:
        self.asks.append(ask)
        if ask.token != self.token:
            _reply(writer, _status(401, "Unauthorized"))
        elif ask.method != "GET":
            _reply(writer, self._write(ask))
        elif self.refusals and (code := self.refusals.popleft()):
            _reply(writer, _status(code, "endpointslices is refused"))
        elif not ask.is_watch:
            assert ask.asked["labelSelector"].startswith("kubernetes.io/service-name=")
            found = [one for one in self._slices.values() if _is_asked_for(one, ask)]
            _reply(writer, {"items": found, "metadata": {"resourceVersion": str(self._version)}})
        elif int(ask.asked["resourceVersion"]) < self._oldest:
            _reply(writer, _status(410, "too old resource version"))
        else:
            await self._stream(ask, writer)

    def _write(self, ask: Ask) -> Any:
        """Create, replace or delete a slice."""
        name = ask.body["metadata"]["name"] if ask.body else ask.path.rpartition("/")[2]
        if ask.method == "DELETE" and name not in self._slices:
            return _status(404, "not found")
        kind = {"POST": "ADDED", "PUT": "MODIFIED", "DELETE": "DELETED"}[ask.method]
        self._version += 1
        written = self._slices.pop(name) if ask.method == "DELETE" else ask.body
        written["metadata"]["resourceVersion"] = str(self._version)
        if kind != "DELETED":
            self._slices[name] = written
        line = _event(kind, written)
        self._events.append((self._version, line))
        self.tell(line)
        return written

    async def _stream(self, ask: Ask, writer: asyncio.StreamWriter) -> None:
        """A watch: what happened since, and happens, in chunks that mind no line's end."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        watch: asyncio.Queue[bytes | None] = asyncio.Queue()
        since = int(ask.asked["resourceVersion"])
        for missed in [line for version, line in self._events if version > since]:
            watch.put_nowait(missed)
        self._watches.add(watch)
        try:
            async with asyncio.timeout(float(ask.asked["timeoutSeconds"])):
                while line := await watch.get():
                    middle = len(line) // 2
                    for part in (line[:middle], line[middle:]):
                        writer.write(b"%x\r\n%s\r\n" % (len(part), part))
                        await writer.drain()
            if line is _ABORT:
                raise ConnectionResetError
        except TimeoutError:
            pass
        finally:
            self._watches.discard(watch)
        writer.write(b"0\r\n\r\n")


def _event(kind: str, written: Any) -> bytes:
    return json.dumps({"type": kind, "object": written}).encode() + b"\n"


def _status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "message": message, "code": code}


def _is_asked_for(written: Any, ask: Ask) -> bool:
    name, _, value = ask.asked["labelSelector"].partition("=")
    return bool(written["metadata"]["labels"].get(name) == value)


def _reply(writer: asyncio.StreamWriter, answer: Any) -> None:
    code = answer.get("code", 200)
    body = json.dumps(answer).encode()
    writer.write(b"HTTP/1.1 %d Status\r\nContent-Length: %d\r\n\r\n" % (code, len(body)) + body)


async def _read_ask(reader: asyncio.StreamReader) -> Ask | None:
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    parts = urlsplit(target)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
    token = headers.get("authorization", "").removeprefix("Bearer ")
    return Ask(method, parts.path, asked, token, json.loads(body) if body else None)
