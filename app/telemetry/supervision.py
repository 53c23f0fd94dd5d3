"""Work that goes on as long as the gateway does: it never ends unseen."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from app.telemetry.metrics import Metrics
from app.telemetry.metrics.catalog.process import Task

# Long enough for what fails at once to cost nothing, and shorter than the pauses of a breaker.
_RESTART_PAUSE_S = 1.0


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
