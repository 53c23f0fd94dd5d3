"""The report, as tables for people and as JSON for programs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Column, Table

from app.tools.verify.compare import Comparison, Measured, compare
from app.tools.verify.sample import Sample
from app.tools.verify.verdict import Verdict, groups, split_kind


class Report(NamedTuple):
    """The content of a report, which shows no texts of queries and documents.

    Args:
        sample: The sample; only its numbers are shown.
        measured: The measurements of each worker.
        verdict: The verdict on them.
        min_batch: The setting in force.
    """

    sample: Sample
    measured: Sequence[Measured]
    verdict: Verdict
    min_batch: int


def as_json(report: Report) -> dict[str, Any]:
    """The report for JSON; docs/verify.md describes the fields."""
    verdict = report.verdict
    return {
        "model": report.measured[0].fingerprint.model,
        "sample": {"queries": len(report.sample), "documents": sum(map(len, report.sample))},
        "workers": [_worker(each) for each in report.measured],
        "across": [{"worker": name, "from": base, **found._asdict()} for name, base, found in _across(report.measured)],
        "verdict": {**asdict(verdict), "needs_action": verdict.needs_action},
    }


def show(report: Report, console: Console) -> None:
    """Print a table per worker, one for the differences between workers, and the verdict."""
    documents = sum(map(len, report.sample))
    model = report.measured[0].fingerprint.model
    console.print(f"{model}: {len(report.sample)} queries with {documents} documents in all\n", highlight=False)
    for worker in report.measured:
        table = _table(f"{worker.worker}: {worker.fingerprint.root}, version {worker.fingerprint.version}")
        for name, comparison in _whole_lists(worker).items():
            table.add_row("among other texts" if name == "neighbours" else name, *_cells(comparison))
        for size, split in worker.splits.items():
            table.add_row(f"max_batch {size}", *_cells(split.comparison), f"{median(split.documents_per_s):.0f}")
        console.print(table)
    table = _table("worker against worker, unsplit")
    for name, base, comparison in _across(report.measured):
        table.add_row(f"{name} and {base}", *_cells(comparison))
    if table.rows:
        console.print(table)
    for line in _conclusions(report):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _worker(measured: Measured) -> dict[str, Any]:
    return {
        "name": measured.worker,
        **{name: getattr(measured.fingerprint, name) for name in ("root", "version", "max_model_len")},
        "verdict": split_kind(measured),
        **{name: row and row._asdict() for name, row in _whole_lists(measured).items()},
        "splits": [
            {"max_batch": size, **split.comparison._asdict(), "documents_per_s": list(split.documents_per_s)}
            for size, split in measured.splits.items()
        ],
    }


def _across(measured: Sequence[Measured]) -> Iterator[tuple[str, str, Comparison]]:
    """The comparison of every other worker with the reference worker."""
    standard = groups(measured)[0][0]
    for other in measured:
        if other is not standard:
            yield other.worker, standard.worker, compare(standard.unsplit, other.unsplit)


def _whole_lists(worker: Measured) -> Mapping[str, Comparison | None]:
    """The comparisons with lists that weren't split, by their names in JSON."""
    return {name: getattr(worker, name) for name in ("repeated", "shuffled", "neighbours", "alone")}


def _table(title: str) -> Table:
    numbers = ("largest", "mean", "swaps", "of pairs", "left top 10", "tau", "documents/s")
    columns = [Column(name, justify="right") for name in numbers]
    return Table("against unsplit", *columns, title=title, title_justify="left")


def _cells(found: Comparison | None) -> Sequence[str]:
    if found is None:
        return ("not tried",)
    counts = (f"{found.swaps}", f"{found.pairs}", f"{found.top_10}")
    return (f"{found.largest:.1e}", f"{found.mean:.1e}", *counts, f"{found.tau:.4f}")


def _conclusions(report: Report) -> Iterator[str]:
    verdict = report.verdict
    yield f"\n{verdict.text}"
    if verdict.advice:
        yield verdict.advice
    if verdict.max_batch:
        lower = f", and RERANK_MIN_BATCH no higher (it is {report.min_batch})"
        yield f"recommended: RERANK_MAX_BATCH={verdict.max_batch}{lower * (report.min_batch > verdict.max_batch)}"
