"""Several pieces of work at once: all or nothing, the first with an answer, or endless ones until one of them ends.

Work that goes on as long as the gateway does is `supervised`: it never ends unseen.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar

import structlog

from app.errors import FingerprintGone
from app.metrics import Metrics
from app.metrics.catalog.process import Task

T = TypeVar("T")

# Long enough for what fails at once to cost nothing, and shorter than the pauses of a breaker.
_RESTART_PAUSE_S = 1.0


async def in_parallel(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What the works return, in their order.

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
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def results_of(tasks: Sequence["asyncio.Task[T]"]) -> list[T]:
    """What tasks return that are not ours alone, in their order: they go on when this is cancelled, or one fails.

    Which failure is raised, is as for `in_parallel`.
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
    """Return when a task is over; `asyncio.wait` takes four times as long for one."""
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
async def ended_together(work: Coroutine[Any, Any, T]) -> AsyncIterator[list["asyncio.Task[T | None]"]]:
    """A list of tasks, beginning with `work`; whatever is left of them at the end is cancelled and waited for."""
    tasks: list[asyncio.Task[T | None]] = [asyncio.create_task(work)]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def first_answer(tasks: Sequence["asyncio.Task[T | None]"]) -> T:
    """What the first of several tasks returns that returns something; the first task's error when there is nothing."""
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.exception() is None and (answer := task.result()):
                return answer
    raise tasks[0].exception() or AssertionError("the first task ended without an answer")


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


async def supervised(
    task: Task,
    work: Callable[[], Coroutine[Any, Any, None]],
    *,
    metrics: Metrics,
    failed: Callable[[BaseException], None] | None = None,
) -> None:
    """Do `work`, and begin it anew, 1 s later, whenever it fails in a way nobody foresaw; return when it returns.

    Each failure is counted. The log has its trace, but the same failure again and again is told once.

    Args:
        task: What the log and metrics call it.
        work: Begins the work; called again for every new beginning.
        metrics: Count failures.
        failed: Called with each failure, so that others don't go by what the work said last.
    """
    log, told = structlog.get_logger(), ""
    while True:
        try:
            return await work()
        except (Exception, asyncio.CancelledError) as failure:
            if _is_cancelled():
                raise
            metrics.task_failed(task)
            if told != repr(failure):
                told = repr(failure)
                log.exception("task_failed", task=task)
            if failed:
                failed(failure)
        await asyncio.sleep(_RESTART_PAUSE_S)


def _is_cancelled() -> bool:
    """Whether somebody cancels the task, rather than that a mistake in it looks like that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
