"""A gateway for clients that block."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from anyio.from_thread import start_blocking_portal

from tests.fake_vllm import FakeVllm
from tests.integration.commands import running
from tests.running import gateway


@contextmanager
def gateway_in_background(*workers: FakeVllm, **settings: Any) -> Iterator[str]:
    """The URL of a gateway over `workers`, both with a thread and an event loop of their own."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(gateway(*workers, **settings)) as client:
        yield str(client.base_url).rstrip("/")


@contextmanager
def process_in_background(*workers: FakeVllm, **settings: str) -> Iterator[str]:
    """The URL of a gateway that is a process of its own, over `workers` in a thread of theirs."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(_process(workers, settings)) as url:
        yield url


@asynccontextmanager
async def _process(workers: tuple[FakeVllm, ...], settings: dict[str, str]) -> AsyncIterator[str]:
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker.running())
        process = await stack.enter_async_context(running("serve", *workers, **settings))
        await process.until_usable()
        yield process.url
