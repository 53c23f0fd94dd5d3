"""A client that leaves takes its work with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive


class ClientLeft(Exception):
    """The client closed its connection before it had its answer."""


@asynccontextmanager
async def cancelled_when_client_leaves(receive: Receive) -> AsyncIterator[None]:
    """Cancel the block when the client closes its connection. The request's body must have been read.

    Raises:
        ClientLeft: instead of the cancellation that the block saw.
    """
    task = asyncio.current_task()
    has_left = False

    async def watch() -> None:
        nonlocal has_left
        while (await receive())["type"] != "http.disconnect":
            pass
        has_left = True
        if task:
            task.cancel()

    watchers: list[asyncio.Task[None]] = []
    # At the block's first pause: one that makes none, since all is known, needs no task to watch for it.
    beginning = asyncio.get_running_loop().call_soon(lambda: watchers.append(asyncio.create_task(watch())))
    try:
        yield
        if has_left:
            # It left in the same moment the work was done: the cancellation is still on its way.
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        if has_left and task and task.uncancel() == 0:
            raise ClientLeft from None
        raise
    finally:
        beginning.cancel()
        for watcher in watchers:
            watcher.cancel()
