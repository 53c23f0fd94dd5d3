"""Several pieces of work at once: all or nothing, or endless ones until one of them ends."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, NoReturn, TypeVar

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


async def until_one_ends(*works: Coroutine[Any, Any, NoReturn]) -> NoReturn:
    """Raise how the first of several endless works ended, and end the others.

    A task group would take a work that was cancelled by mistake for one that is done.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    raise done.pop().exception() or AssertionError("an endless work ended")
