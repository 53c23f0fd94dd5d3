"""Simulated clients: each request comes as a server hands it over, and may be given up at any moment."""

import asyncio
from collections.abc import Mapping, MutableMapping
from typing import Any

import orjson
from starlette.responses import Response

from app.api.request import CLIENT_CONNECTION, ClientConnection
from tests.simulation import texts
from tests.simulation.clock import VirtualLoop
from tests.simulation.plan import Ask, Loop
from tests.simulation.record import Note, Record, Request
from tests.simulation.replica import SECRETS, Replica

# Documents of different clients of a closed loop, and of its turns, lie this far apart.
_CLIENT_STRIDE = 1_000_000
_TURN_STRIDE = 10_000


class Clients:
    """Everybody who asks.

    Args:
        loop: Whose clock goes.
        replicas: Whom they ask.
        record: Where all is written down.
        has_presence: Whether the server tells of clients that leave, as the gateway's own does.
        deadline_s: The gateway's own.
    """

    def __init__(
        self,
        *,
        loop: VirtualLoop,
        replicas: list[Replica],
        record: Record,
        has_presence: bool,
        deadline_s: float,
    ) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self._loop = loop
        self._replicas = replicas
        self._record = record
        self._has_presence = has_presence
        self._deadline_s = deadline_s

    def begin(self, event: Ask | Loop) -> None:
        """Send a request, or the first ones of a loop."""
        if isinstance(event, Ask):
            self._start(self.ask(event))
            return
        for number in range(event.clients):
            self._start(self._go_on(event, number))

    async def ask(self, ask: Ask) -> Request | None:
        """Send one request and wait until the gateway is done with it; None when it listens no more."""
        replica = self._replicas[ask.replica % len(self._replicas)]
        if self._loop.now >= replica.closes_at:
            return None
        request = self._request(ask)
        request.forecast_s = _forecast_s(replica, request)
        self._record.requests.append(request)
        exchange = _Exchange(request, self._loop, self._record, has_presence=self._has_presence)
        # A task of its own, as a server gives it.
        serving = self._loop.create_task(replica.serve(exchange.scope, exchange.receive, exchange.send))
        try:
            await asyncio.wait([serving])
            request.crash = asyncio.CancelledError() if serving.cancelled() else serving.exception()
        finally:
            exchange.stop()
            request.ended = self._loop.now
        return request

    def _start(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _go_on(self, event: Loop, number: int) -> None:
        until, turn = self._loop.now + event.lasts_s, 0
        while self._loop.now < until:
            first = event.ask.first
            if event.is_fresh:
                first += (number + 1) * _CLIENT_STRIDE + turn * _TURN_STRIDE
            began = self._loop.now
            if await self.ask(_moved(event.ask, first)) is None:
                return
            turn += 1
            pause_s = event.think_s
            if self._loop.now - began + pause_s < _SHORTEST_TURN_S:
                pause_s = _SHORTEST_TURN_S
            await asyncio.sleep(pause_s)

    def _request(self, ask: Ask) -> Request:
        distinct = ask.documents if ask.distinct is None else max(1, min(ask.distinct, ask.documents))
        bad = frozenset(ask.unreadable)
        documents = [
            texts.document_text(ask.first + place % distinct, words=ask.words, is_readable=place % distinct not in bad)
            for place in range(ask.documents)
        ]
        limit_s = self._deadline_s if ask.timeout_ms is None else min(self._deadline_s, ask.timeout_ms / 1000)
        return Request(
            id=f"r{len(self._record.requests) + 1}",
            ask=ask,
            query=texts.query_text(ask.query, is_long=ask.has_long_query),
            documents=documents,
            began=self._loop.now,
            deadline=self._loop.now + limit_s,
        )


def _forecast_s(replica: Replica, request: Request) -> float | None:
    """Seconds that admission would forecast for a request now; None when it knows of no queue, or of no speed."""
    serving = [worker for worker in replica.engine.registry.workers if request.ask.model in worker.serves]
    if not serving:
        return None
    fingerprint = serving[0].serves[request.ask.model]
    outlook = replica.engine.scheduler.outlook(request.ask.key, request.distinct, fingerprint)
    if not outlook.waiting or outlook.per_s is None:
        return None
    return (outlook.in_flight + outlook.before + request.distinct) / outlook.per_s


# A client that is refused at once comes back a moment later, not at the same moment.
_SHORTEST_TURN_S = 0.05


def _moved(ask: Ask, first: int) -> Ask:
    return Ask(**{name: getattr(ask, name) for name in ASK_FIELDS if name != "first"}, first=first)


ASK_FIELDS = tuple(Ask.__dataclass_fields__)


class _Exchange:
    """One request and its answer, between a server and the application."""

    def __init__(self, request: Request, loop: VirtualLoop, record: Record, *, has_presence: bool) -> None:
        self._request = request
        self._record = record
        self._loop = loop
        self._left = loop.create_future()
        body = orjson.dumps(_body(request))
        half = len(body) // 2 if request.ask.upload_s else 0
        self._parts = [body[:half], body[half:]] if half else [body]
        self._sent = 0
        self._answer = b""
        self._arrives_at = loop.now + request.ask.upload_s
        state: dict[str, Any] = {}
        self._client_connection: ClientConnection | None = None
        if has_presence:
            self._client_connection = ClientConnection(set(), self._take_whole, has_sent_all=not half)
            state[CLIENT_CONNECTION] = self._client_connection
        self.scope = _scope("POST", request.ask.route, _headers(request, len(body)), state)
        leaves = request.ask.leaves_after_s
        self._leaving = None if leaves is None else loop.call_at(loop.now + leaves, self._leave)
        self._calls_left = request.ask.leaves_after_calls
        if self._calls_left is not None:
            record.on_call_end[self] = self._count_call

    async def receive(self) -> MutableMapping[str, Any]:
        if self._left.done():
            return {"type": "http.disconnect"}
        if self._sent < len(self._parts):
            if self._sent and self._arrives_at > self._loop.now:
                await asyncio.wait([self._left], timeout=self._arrives_at - self._loop.now)
                if self._left.done():
                    return {"type": "http.disconnect"}
            part, self._sent = self._parts[self._sent], self._sent + 1
            has_more = self._sent < len(self._parts)
            if self._client_connection and not has_more:
                self._client_connection.has_sent_all = True
            return {"type": "http.request", "body": part, "more_body": has_more}
        await asyncio.wait([self._left])
        return {"type": "http.disconnect"}

    async def send(self, message: Mapping[str, Any]) -> None:
        if self._left.done():
            return
        if message["type"] == "http.response.start":
            self._request.status = message["status"]
            self._request.headers = _decoded(message["headers"])
        else:
            self._answer += message.get("body", b"")

    def stop(self) -> None:
        """The exchange is over."""
        if self._leaving:
            self._leaving.cancel()
        self._record.on_call_end.pop(self, None)
        if self._answer and self._request.body is None:
            self._request.body = orjson.loads(self._answer)

    def _take_whole(self, response: Response) -> bool:
        if self._left.done():
            return False
        self._request.status = response.status_code
        self._request.headers = _decoded(response.raw_headers)
        self._answer = bytes(response.body)
        return True

    def _count_call(self) -> None:
        """A call to a worker has ended."""
        self._calls_left = (self._calls_left or 1) - 1
        if not self._calls_left:
            self._record.on_call_end.pop(self)
            self._leave_after(self._request.ask.leaves_steps_later)

    def _leave_after(self, steps: int) -> None:
        if steps:
            self._loop.call_soon(self._leave_after, steps - 1)
        elif not self._left.done() and not self._request.is_answered:
            self._leave()

    def _leave(self) -> None:
        self._request.left = self._loop.now
        self._left.set_result(None)
        if self._client_connection:
            self._client_connection.has_left = True
            for tell in [*self._client_connection.on_loss]:
                tell()


def _scope(method: str, path: str, headers: list[tuple[bytes, bytes]], state: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8080),
        "state": state,
    }


def _headers(request: Request, size: int) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"host", b"127.0.0.1:8080"),
        (b"content-type", b"application/json"),
        (b"content-length", str(size).encode()),
        (b"x-request-id", request.id.encode()),
    ]
    if request.ask.cache != "default":
        headers.append((b"x-rerank-cache", request.ask.cache.encode()))
    if secret := SECRETS.get(request.ask.key):
        headers.append((b"authorization", f"Bearer {secret}".encode()))
    return headers


def _body(request: Request) -> dict[str, Any]:
    ask = request.ask
    body: dict[str, Any] = {"model": ask.model}
    if ask.route == "/v1/score":
        body |= {"text_1": request.query, "text_2": request.documents}
    else:
        body |= {"query": request.query, "documents": request.documents}
    if ask.is_by_passage:
        body |= {"long_documents": "passages", "truncate_prompt_tokens": texts.READ_TOKENS}
    if ask.priority:
        body["priority"] = ask.priority
    if ask.timeout_ms is not None:
        body["timeout_ms"] = ask.timeout_ms
    return body


def _decoded(headers: Any) -> dict[str, str]:
    return {name.decode().lower(): value.decode() for name, value in headers}


async def order(replica: Replica, path: str, content: Mapping[str, Any]) -> int:
    """Have an operator send something to `/admin`; the status of the answer."""
    body, statuses = orjson.dumps(content), list[int]()
    parts: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> MutableMapping[str, Any]:
        if parts:
            return parts.pop()
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers = [(b"host", b"127.0.0.1:8080"), (b"content-type", b"application/json")]
    await replica.serve(_scope("POST", path, headers, {}), receive, send)
    return int(statuses[0])


__all__ = ["Clients", "Note", "order"]
