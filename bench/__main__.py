"""The suite: `python -m bench` takes 25 minutes, `python -m bench --quick` two."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bench.connection import NotAnswered
from bench.page import write_page
from bench.processes import OTHER_CORES, NotServing
from bench.report import Report
from bench.rows import compared, live, many, memory, mixed, pairs, searches, split, start
from bench.table import show

RESULTS = Path(__file__).parent / "results"


class _Part(NamedTuple):
    """One file of `bench/rows`, and about how long it takes: whole and quick."""

    what: str
    measure: Callable[[Report], Awaitable[None]]
    whole_s: float
    quick_s: float


_PARTS = {
    "start": _Part("start", start.measure, 15, 6),
    "compared": _Part("CPU and latency, compared", compared.measure, 260, 60),
    "pairs": _Part("a pair in the cache", pairs.measure, 15, 15),
    "searches": _Part("searches of Milvus", searches.measure, 50, 12),
    "split": _Part("1000 documents over several workers", split.measure, 60, 14),
    "live": _Part("1000 documents over a real worker", live.measure, 150, 100),
    "mixed": _Part("small requests beside big ones", mixed.measure, 100, 18),
    "many": _Part("very many workers", many.measure, 160, 40),
    "memory": _Part("memory", memory.measure, 640, 22),
}


def _main(
    only: Annotated[list[str] | None, typer.Argument(help=f"parts of it: {', '.join(_PARTS)}; all by default")] = None,
    *,
    quick: Annotated[bool, typer.Option(help="figures that are only about right, and no page")] = False,
    note: Annotated[str, typer.Option(help="what else the reader of the page must know about this run")] = "",
) -> None:
    """Measure the gateway and its peers, and print what is reached; a whole run writes docs/performance.md anew."""
    if unknown := set(only or ()) - set(_PARTS):
        raise typer.BadParameter(f"no such part: {', '.join(sorted(unknown))}")
    report = Report.begin(is_quick=quick)
    report.note = note
    # The measured server has the first core for itself.
    os.sched_setaffinity(0, OTHER_CORES)
    try:
        uvloop.run(_measure(report, [_PARTS[name] for name in only or _PARTS]))
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None
    show(report, Console())
    is_whole = not (quick or only)
    report.write(RESULTS / ("latest.json" if is_whole else "partial.json"))
    if is_whole:
        write_page(report)


async def _measure(report: Report, parts: list[_Part]) -> None:
    if measuring := asyncio.current_task():
        # What is told to end takes its servers along, as it does on Ctrl-C.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, measuring.cancel)
    columns = (TextColumn("{task.description:40}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for part in parts:
            about_s = part.quick_s if report.is_quick else part.whole_s
            bar = progress.add_task(part.what, total=about_s)
            clock = asyncio.create_task(_advance(progress, bar, about_s))
            try:
                await part.measure(report)
            except (OSError, EOFError, NotAnswered, NotServing, TimeoutError) as exc:
                # What takes twenty minutes doesn't lose them all to one part.
                report.missing[part.what] = f"{type(exc).__name__}: {exc}"
            finally:
                clock.cancel()
                with suppress(asyncio.CancelledError):
                    await clock
            progress.update(bar, completed=about_s)


async def _advance(progress: Progress, bar: TaskID, about_s: float) -> None:
    """Time is all that is known of how far a part has come; only its end fills the bar."""
    for _ in range(int(about_s) - 1):
        await asyncio.sleep(1)
        progress.advance(bar, 1)


if __name__ == "__main__":
    typer.run(_main)
