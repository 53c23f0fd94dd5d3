"""How long the gateway takes until it is ready over workers that can be reached, and its imports alone."""

import subprocess
import sys

from bench.gateways import gateway
from bench.processes import MEASURED_CORES, REPOSITORY
from bench.quantiles import median
from bench.report import Report
from bench.workers import fake_workers

_IMPORT = "from time import perf_counter; began = perf_counter(); import app.main; print(perf_counter() - began)"


async def measure(report: Report) -> None:
    """Some starts, one after the other; the first of them, which may read files from disk, counts like the others."""
    starts = 3 if report.is_quick else 7
    async with fake_workers(1) as workers:
        ready_s = []
        for _ in range(starts):
            async with gateway(workers) as ours:
                ready_s.append(ours.server.start_s)
    report.put("start_s", "ready", median(ready_s))
    report.put("start_s", "import", median([_import_s() for _ in range(starts)]))


def _import_s() -> float:
    command = ("taskset", "--cpu-list", ",".join(map(str, MEASURED_CORES)), sys.executable, "-c", _IMPORT)
    return float(subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True).stdout)  # noqa: S603 - ours
