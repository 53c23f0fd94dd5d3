"""A gateway on a real socket, in the test's own event loop."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

from app.main import create_app
from app.server.protocol import BoundedProtocol
from app.settings import Settings
from tests.fake_vllm import FakeVllm


@asynccontextmanager
async def serving(
    app: ASGIApp, protocol: type[BoundedProtocol] = BoundedProtocol, *, keep_alive_s: int = 120
) -> AsyncIterator[str]:
    """The URL where `app` is served until the end of the block."""
    config = uvicorn.Config(
        app,
        port=0,
        log_config=None,
        access_log=False,
        timeout_keep_alive=keep_alive_s,
        proxy_headers=False,
        http=protocol,
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    loop = asyncio.create_task(server.main_loop())
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await loop
        server.force_exit = True
        await server.shutdown()
        # Left out by a forced exit, but the application has links to close.
        await server.lifespan.shutdown()


@asynccontextmanager
async def gateway(*workers: FakeVllm, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway over running `workers`, ready when the block begins; it scores all it is asked for."""
    async with AsyncExitStack() as stack:
        for worker in workers:
            if not worker.url:
                await stack.enter_async_context(worker.running())
        urls = tuple(worker.url for worker in workers)
        chosen: dict[str, Any] = {"workers": urls, "drain_s": 0, "cache": False} | settings
        app = create_app(Settings(**chosen), rng=Random(7))
        url = await stack.enter_async_context(serving(app))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30))
        await until_ready(client)
        yield client


@asynccontextmanager
async def shared_gateway(worker: FakeVllm) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway that starts before the fixture which keeps a developer's settings from every test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("RERANK_"):
                patch.delenv(name)
        async with gateway(worker) as client:
            yield client


async def until_ready(client: httpx.AsyncClient) -> None:
    """Wait until the gateway says that it is ready."""
    for _ in range(400):
        response = await client.get("/readyz")
        if response.status_code == httpx.codes.OK:
            return
        await asyncio.sleep(0.01)
    raise TimeoutError(response.text)


async def rerank(client: httpx.AsyncClient, documents: list[Any], path: str = "/rerank", **more: Any) -> httpx.Response:
    """One rerank call for the query `q`."""
    return await client.post(path, json={"query": "q", "documents": documents} | more)
