"""What a run of the suite has found, as it is kept: JSON that tables, charts and pages are made of."""

import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import process_time_ns
from typing import Self

import orjson

from app import __version__
from bench.quantiles import median

# What was measured, to who it was measured of, to the figure.
Figures = dict[str, dict[str, float]]
_STEPS = 100_000
_PACKAGES = ("fastapi", "httptools", "orjson", "uvicorn", "uvloop")


@dataclass
class Report:
    """One run.

    Attributes:
        taken_at: When it began.
        is_quick: Whether it took seconds where it should take minutes.
        machine: What it ran on.
        versions: Of the gateway, what it is made of, and the peers.
        remarks: What the reader must know about a peer.
        missing: What couldn't be measured, and why.
        figures: What was measured.
        series: The same over time: pairs of seconds and a value.
        note: What else the reader must know about this run.
    """

    taken_at: str
    is_quick: bool
    machine: dict[str, str]
    versions: dict[str, str]
    remarks: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    figures: Figures = field(default_factory=dict)
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    note: str = ""

    @classmethod
    def begin(cls, *, is_quick: bool) -> Self:
        """An empty report of this machine."""
        versions = {"rerank-gateway": __version__} | {name: version(name) for name in _PACKAGES}
        taken_at = datetime.now(UTC).isoformat(timespec="minutes")
        return cls(taken_at=taken_at, is_quick=is_quick, machine=_machine(), versions=versions)

    @classmethod
    def read(cls, path: Path) -> Self:
        """A report that was written."""
        return cls(**orjson.loads(path.read_bytes()))

    def write(self, path: Path) -> None:
        """Keep it, the same figures always as the same bytes."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))

    def put(self, what: str, whose: str, figure: float) -> None:
        """Note a figure, with as many digits as mean something."""
        self.figures.setdefault(what, {})[whose] = float(f"{figure:.4g}")


def _machine() -> dict[str, str]:
    return {
        "processor": _line_of("/proc/cpuinfo", "model name"),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(_line_of('/proc/meminfo', 'MemTotal').split()[0]) / 2**20:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "speed": f"{_step_ns():.0f} ns per step of an empty loop in Python",
    }


def _step_ns() -> float:
    """The CPU time of a step that needs no memory; the median of many, as a busy neighbour may double it."""
    costs = []
    for _ in range(50):
        began = process_time_ns()
        for _ in range(_STEPS):
            pass
        costs.append((process_time_ns() - began) / _STEPS)
    return median(costs)


def _line_of(path: str, name: str) -> str:
    lines = Path(path).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")
