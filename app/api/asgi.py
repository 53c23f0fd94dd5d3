"""The ASGI application around all routes: reads paths, sets request ids, sends long answers in parts."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.api import paths
from app.api.bytes_in_flight import BytesInFlight
from app.api.cors import Cors
from app.api.request import LONG_BYTES, HttpRequest, do_nothing


@dataclass(frozen=True, slots=True, eq=False)
class AsgiApp:
    """The ASGI application that the server calls.

    Args:
        app: The FastAPI application behind it.
        is_draining: While true, every answer closes its connection, so that clients move on to another replica.
        bytes_in_flight: Where long answers count until they are sent.
        posts: Endpoints for a POST, by route, that are called without FastAPI. Its way to an endpoint costs a sixth of
            a request whose scores are cached (decision 0013).
        cors: Which other sites' pages may read answers; None for none.
    """

    app: FastAPI
    _: KW_ONLY
    is_draining: Callable[[], bool]
    bytes_in_flight: BytesInFlight
    posts: Mapping[str, Callable[[HttpRequest], Awaitable[Response]]]
    cors: Cors | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        destination = paths.read(scope["method"], scope["path"])
        if destination:
            scope["path"] = destination.route
            if destination.model:
                # Where FastAPI keeps what it reads from a path itself.
                scope["path_params"] = {"model": destination.model}
        elif len(scope["path"]) > 1 and scope["path"].endswith("/"):
            # A redirect would turn a POST into a GET, so a trailing slash is served.
            scope["path"] = scope["path"].rstrip("/") or "/"
        request = HttpRequest(scope, receive, destination)
        serve = self.posts.get(request.path) if scope["method"] == "POST" else None
        if self.cors and self.cors.asks_first(request):
            serve = self.cors.answer_preflight
        if serve is None:
            with_headers = self._adding_headers(self._in_parts(send, request), request)
            await self.app(scope, receive, with_headers)
        else:
            response = await serve(request)
            self._add_headers(response.raw_headers, request)
            if not (request.client_connection and request.client_connection.send_whole(response)):
                await response(scope, receive, self._in_parts(send, request))

    def _in_parts(self, send: Send, request: HttpRequest) -> Send:
        """A `send` that sends a long body in parts, each after the client has read the last, and counts its bytes."""

        async def send_parts(message: Message) -> None:
            body = message.get("body", b"")
            if len(body) <= LONG_BYTES:
                await send(message)
                return
            hang_up = request.client_connection.hang_up if request.client_connection else do_nothing
            with self.bytes_in_flight.unread(request.key, len(body), hang_up):
                rest = memoryview(body)
                while len(rest) > LONG_BYTES:
                    await send({**message, "body": rest[:LONG_BYTES], "more_body": True})
                    rest = rest[LONG_BYTES:]
                await send({**message, "body": rest})

        return send_parts

    def _adding_headers(self, send: Send, request: HttpRequest) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(message["headers"], request)
            await send(message)

        return send_with_headers

    def _add_headers(self, headers: list[tuple[bytes, bytes]], request: HttpRequest) -> None:
        """Add the headers that every answer has.

        One that is given before its request has come whole closes the connection: the rest of the body would have to be
        read and discarded before the next request.
        """
        headers.append((b"x-request-id", request.request_id.encode()))
        if self.cors:
            self.cors.add_headers(MutableHeaders(raw=headers), request)
        is_early = request.client_connection and not request.client_connection.has_sent_all
        if is_early or self.is_draining():
            MutableHeaders(raw=headers)["Connection"] = "close"
