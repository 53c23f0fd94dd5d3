"""Metrics of the process, besides those of Prometheus's own client library."""

from typing import Literal, get_args

from app.telemetry.metrics.declaration import Label, counter, gauge

Task = Literal["probe", "discovery", "worker_close", "redis", "history", "model_check"]

TASKS = gauge(
    "rerank_tasks",
    "tasks",
    "Tasks on the event loop. It follows the load; if it rose without it, that would be a leak.",
)
LOG_LINES_DROPPED = counter(
    "rerank_log_lines_dropped_total",
    "lines",
    "Log lines that were discarded. Rising: nobody reads standard output, it is closed, or its disk is full. "
    "Requests are served all the same.",
)
BUILD_INFO = gauge(
    "rerank_build_info",
    "",
    "Always 1; its labels have the versions of the gateway and of Python.",
    Label("version"),
    Label("python"),
)
TASK_FAILURES = counter(
    "rerank_task_failures_total",
    "failures",
    "Background tasks that failed in a way nobody foresaw and were restarted: probes of a worker (probe), discovery, "
    "the removal of a worker (worker_close), redis, the charts (history). Rising: a bug; task_failed in the log has "
    "its trace.",
    Label("task", get_args(Task)),
)
