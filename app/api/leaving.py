"""A client that leaves takes its work with it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

T = TypeVar("T")


class ClientLeft(Exception):
    """The client closed its connection before it had its answer."""


async def unless_client_leaves(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What the work returns; it is cancelled when the client closes its connection.

    Args:
        receive: Of the request, whose body must have been read.
        work: What is done for the client.

    Raises:
        ClientLeft: instead of the cancellation that the work saw.
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
    # At the first pause of the work: one that makes none, since all is known, needs no task to watch for it.
    beginning = asyncio.get_running_loop().call_soon(lambda: watchers.append(asyncio.create_task(watch())))
    try:
        result = await work
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
    return result
