"""Metrics of the process, beside those of Prometheus's own client library."""

from typing import Literal, get_args

from app.telemetry.metrics.declaration import Declaration, Label

Task = Literal["probe", "discovery", "worker_close", "redis", "history"]

TASKS = Declaration(
    "rerank_tasks",
    "gauge",
    "tasks",
    "Tasks on the event loop. It follows the load; if it rose without it, that would be a leak.",
)
LOG_LINES_DROPPED = Declaration(
    "rerank_log_lines_dropped_total",
    "counter",
    "lines",
    "Lines of the log that were dropped. Rising: nobody reads standard output, it is closed, or its disk is full. "
    "Requests are served all the same.",
    is_read=True,
)
BUILD_INFO = Declaration(
    "rerank_build_info",
    "gauge",
    "",
    "Always 1; its labels say what runs.",
    (Label("version"), Label("python")),
)
TASK_FAILURES = Declaration(
    "rerank_task_failures_total",
    "counter",
    "failures",
    "Background tasks that failed in a way nobody foresaw and were begun anew: the probes of a worker, the search for "
    "workers, a worker's end, Redis, the charts. Rising: a bug; task_failed in the log has its trace.",
    (Label("task", get_args(Task)),),
)
