"""Several pieces of work at once, all or nothing."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from app.errors import FingerprintGone

T = TypeVar("T")


async def in_parallel(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What the works return, in their order.

    The first failure cancels the others and is raised by itself. When several fail at once, `FingerprintGone` goes
    first: it is the one after which the whole can still succeed.
    """
    if len(works) == 1:
        return [await works[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failures:
        gone, others = failures.split(FingerprintGone)
        raise (gone or others or failures).exceptions[0] from None
    return [task.result() for task in tasks]
