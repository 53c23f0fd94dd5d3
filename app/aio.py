"""Asyncio: several coroutines at once, and the event loop they run in, which may have stood still."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from typing import Any, NoReturn, TypeVar

from app.errors import FingerprintGone

_TICK_S = 0.5
# Timers of a busy process are late too; all limits for workers are longer than this.
_STALL_S = 0.5
# Time limits that ran out meanwhile are reported within one turn of the loop, or a few when there were many.
_AFTERMATH_S = 1.0

T = TypeVar("T")


class OnLoop:
    """A base for objects that live in one event loop, but are made before it runs.

    `asyncio.get_running_loop` asks the kernel for the process's number each time: decision 0013.
    """

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()


class StallDetector(OnLoop):
    """Detects that this process itself has just stood still: it got no CPU, was frozen, or something blocked its loop.

    All time limits then end at once, before the answers that have arrived meanwhile are read. Whatever failed in that
    moment says nothing about a worker.
    """

    def __init__(self) -> None:
        self._due_at = float("inf")
        self._ended_at = float("-inf")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watch for standstills until the end of the block."""
        self._due_at = self._loop.time()
        self._tick()
        try:
            yield
        finally:
            self._timer.cancel()

    @property
    def has_just_stalled(self) -> bool:
        """True when a standstill of half a second or more ended less than a second ago."""
        now = self._loop.time()
        return now - self._due_at > _STALL_S or now - self._ended_at < _AFTERMATH_S

    def _tick(self) -> None:
        now = self._loop.time()
        if now - self._due_at > _STALL_S:
            self._ended_at = now
        self._due_at = now + _TICK_S
        self._timer = self._loop.call_at(self._due_at, self._tick)


async def in_parallel(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of several coroutines, in their order.

    The first failure cancels the others and is raised by itself. When several fail at once, `FingerprintGone` goes
    first: it is the one after which the whole can still succeed.
    """
    if len(works) == 1:
        return [await works[0]]
    # A task group would leave the caller's task cancelled after a failure (CPython before 3.13): its next time limit
    # would then end it instead of raising TimeoutError.
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await results_of(tasks)
    finally:
        await cancel(tasks)


async def cancel(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    """Cancel the tasks, and wait until they are done with it."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def results_of(tasks: Sequence["asyncio.Task[T]"]) -> list[T]:
    """The results of tasks that others await too, in their order.

    The tasks go on when this is cancelled, or one of them fails. Failures are raised as by `in_parallel`.
    """
    if len(tasks) == 1:
        await _ended(tasks[0])
        return [tasks[0].result()]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    failures = [failure for task in tasks if task in done and (failure := task.exception())]
    if failures:
        raise next((failure for failure in failures if isinstance(failure, FingerprintGone)), failures[0])
    return [task.result() for task in tasks]


async def _ended(task: "asyncio.Task[Any]") -> None:
    """Wait until a task is over; `asyncio.wait` takes four times as long for one."""
    over = asyncio.get_running_loop().create_future()

    def tell(_: object) -> None:
        if not over.done():
            over.set_result(None)

    task.add_done_callback(tell)
    try:
        await over
    finally:
        task.remove_done_callback(tell)


@asynccontextmanager
async def cancel_on_exit(work: Coroutine[Any, Any, T]) -> AsyncIterator[list["asyncio.Task[T | None]"]]:
    """A list of tasks, beginning with `work`; those left at the end of the block are cancelled and awaited."""
    tasks: list[asyncio.Task[T | None]] = [asyncio.create_task(work)]
    try:
        yield tasks
    finally:
        await cancel(tasks)


async def first_answer(tasks: Sequence["asyncio.Task[T | None]"]) -> T:
    """The first result of several tasks that isn't None; the first task's error when there is none."""
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.exception() is None and (answer := task.result()):
                return answer
    raise tasks[0].exception() or AssertionError("the first task ended without an answer")


async def until_one_ends(*works: Coroutine[Any, Any, NoReturn]) -> NoReturn:
    """Run endless coroutines until one ends; cancel the others and raise the error that ended it.

    A task group would take one that was cancelled by mistake for one that is done.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel(tasks)
    raise done.pop().exception() or AssertionError("an endless work ended")
