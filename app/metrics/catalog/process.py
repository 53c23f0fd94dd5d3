"""Metrics of the process, beside those of Prometheus's own client library."""

from app.metrics.declaration import Declaration, Label

TASKS = Declaration(
    "rerank_tasks",
    "gauge",
    "tasks",
    "Tasks on the event loop. It follows the load; if it rose without it, that would be a leak.",
)
BUILD_INFO = Declaration(
    "rerank_build_info",
    "gauge",
    "",
    "Always 1; its labels say what runs.",
    (Label("version"), Label("python")),
)
