"""What holds for every request, whatever its route: one path per place, an id, and a closing connection at the end."""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.incoming import Incoming


class Door:
    """The application as a server calls it.

    Args:
        app: What is behind the door.
        is_draining: While true, every answer closes its connection, so that clients move on to another replica.
        posts: What answers a POST to some paths, right here. The way through FastAPI to an endpoint that needs nothing
            of it costs a sixth of a request whose scores are known: decision 0013.
    """

    def __init__(
        self,
        app: FastAPI,
        *,
        is_draining: Callable[[], bool],
        posts: Mapping[str, Callable[[Incoming], Awaitable[Response]]],
    ) -> None:
        self.app = app
        self._is_draining = is_draining
        self._posts = posts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # A redirect would turn Milvus's POST into a GET, so a trailing slash is served.
        if len(scope["path"]) > 1 and scope["path"].endswith("/"):
            scope["path"] = scope["path"].rstrip("/") or "/"
        incoming = Incoming(scope, receive)
        serve = self._posts.get(incoming.path) if scope["method"] == "POST" else None
        if serve is None:
            await self.app(scope, receive, self._marking(send, incoming.request_id))
        else:
            response = await serve(incoming)
            self._mark(response.raw_headers, incoming.request_id)
            if not (incoming.presence and incoming.presence.send_whole(response)):
                await response(scope, receive, send)

    def _marking(self, send: Send, request_id: str) -> Send:
        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._mark(message["headers"], request_id)
            await send(message)

        return send_marked

    def _mark(self, headers: list[tuple[bytes, bytes]], request_id: str) -> None:
        """Put into the headers of an answer what all of them have."""
        headers.append((b"x-request-id", request_id.encode()))
        if self._is_draining():
            MutableHeaders(raw=headers)["Connection"] = "close"
