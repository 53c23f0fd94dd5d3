"""A server that answers every request at once, before it has come whole."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive, Scope, Send

from app.server.clients import CLIENTS, Clients
from tests.running import serving


@asynccontextmanager
async def refusing(clients: Clients) -> AsyncIterator[tuple[Clients, int]]:
    """The server's count of clients, and its port. Each answer is a 401."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["state"][CLIENTS] = clients
            for stage in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{stage}.complete"})
            return
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body"})

    async with serving(app) as url:
        yield clients, int(url.rpartition(":")[2])
