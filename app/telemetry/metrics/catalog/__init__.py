"""The declarations of all metrics, for `/metrics`, docs/metrics.md and the alerts.

Label values come from fixed sets or from the operator, never from a client.
"""

from app.telemetry.metrics.catalog import caches, process, requests, workers
from app.telemetry.metrics.declaration import Declaration

SECTIONS = {
    title: tuple(value for value in vars(module).values() if isinstance(value, Declaration))
    for title, module in (("Requests", requests), ("Workers", workers), ("Cache", caches), ("Process", process))
}
METRICS = tuple(declared for section in SECTIONS.values() for declared in section)
