"""A client that leaves takes its work with it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from app.api.request import HttpRequest

T = TypeVar("T")


class ClientLeft(Exception):
    """The client closed its connection before it had its answer."""


async def cancelled_on_disconnect(request: HttpRequest, work: Coroutine[Any, Any, T]) -> T:
    """What the work returns; it is cancelled when the client closes its connection.

    Args:
        request: The request, whose body must have been read.
        work: What is done for the client.

    Raises:
        ClientLeft: instead of the cancellation that the work saw.
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
            # It left in the same moment the work was done: the cancellation is still on its way.
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        if has_left and task and task.uncancel() == 0:
            raise ClientLeft from None
        raise
    finally:
        stop()
    return result


def _call_when_client_leaves(request: HttpRequest, leave: Callable[[], None]) -> Callable[[], object]:
    """Have `leave` called, or not any more once what is returned is called."""
    client_connection = request.client_connection
    if client_connection is None:
        return asyncio.create_task(_watch(request.receive, leave)).cancel
    if client_connection.has_left:
        leave()
    client_connection.on_loss.add(leave)
    return lambda: client_connection.on_loss.discard(leave)


async def _watch(receive: Receive, leave: Callable[[], None]) -> None:
    """What takes a task of its own where the server doesn't tell."""
    while (await receive())["type"] != "http.disconnect":
        pass
    leave()
