"""Cancellation of a request's work when its client disconnects."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from app.api.request import HttpRequest

T = TypeVar("T")


class ClientLeft(Exception):
    """The client closed its connection before it had its answer."""


async def cancelled_on_disconnect(request: HttpRequest, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client closes its connection.

    Args:
        request: The request, whose body must have been read.
        work: The work for this client.

    Raises:
        ClientLeft: the client disconnected, and the work was cancelled.
    """
    task = asyncio.current_task()
    has_left = False

    def leave() -> None:
        nonlocal has_left
        has_left = True
        if task:
            task.cancel()

    stop = _call_when_client_leaves(request, leave)
    try:
        result = await work
        if has_left:
            # The client left in the moment the work was done: the cancellation is still pending.
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        if has_left and task and task.uncancel() == 0:
            raise ClientLeft from None
        raise
    finally:
        stop()
    return result


def _call_when_client_leaves(request: HttpRequest, leave: Callable[[], None]) -> Callable[[], object]:
    """Call `leave` when the client disconnects. Returns a function that unregisters it."""
    client_connection = request.client_connection
    if client_connection is None:
        return asyncio.create_task(_watch(request.receive, leave)).cancel
    if client_connection.has_left:
        leave()
    client_connection.on_loss.add(leave)
    return lambda: client_connection.on_loss.discard(leave)


async def _watch(receive: Receive, leave: Callable[[], None]) -> None:
    """Call `leave` when ASGI reports a disconnect: for servers other than ours, which need a task to notice."""
    while (await receive())["type"] != "http.disconnect":
        pass
    leave()
