"""Supervision of background tasks, which are restarted when they fail."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from app.telemetry.metrics import Metrics
from app.telemetry.metrics.catalog.process import Task

# Long enough that a task which fails at once costs nothing, and shorter than the pauses of a breaker.
_RESTART_PAUSE_S = 1.0


async def supervised(
    task: Task,
    work: Callable[[], Coroutine[Any, Any, None]],
    *,
    metrics: Metrics,
    failed: Callable[[BaseException], None] | None = None,
) -> None:
    """Run `work`, and restart it after 1 s whenever it raises; return when it returns.

    Each failure is counted. The log has its trace, but a failure that repeats is logged once.

    Args:
        task: The name of the work in log and metrics.
        work: Makes the coroutine; called again for every restart.
        metrics: Count failures.
        failed: Called with each failure, so that others stop relying on the last result of the work.
    """
    log, logged = structlog.get_logger(), ""
    while True:
        try:
            return await work()
        except (Exception, asyncio.CancelledError) as failure:
            if _is_cancelled():
                raise
            metrics.task_failed(task)
            if logged != repr(failure):
                logged = repr(failure)
                log.exception("task_failed", task=task)
            if failed:
                failed(failure)
        await asyncio.sleep(_RESTART_PAUSE_S)


def _is_cancelled() -> bool:
    """True if somebody cancels the task; a bug in it may raise CancelledError as well."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
