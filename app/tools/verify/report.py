"""The report, as tables for people and as JSON for programs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Column, Table

from app.policy.check_verdict import CheckResult
from app.policy.model_profile import ModelProfile
from app.policy.suspicion import Suspicion
from app.tools.verify.compare import Comparison, Measured, compare
from app.tools.verify.sample import Sample
from app.tools.verify.verdict import Verdict, groups, split_kind


class Checked(NamedTuple):
    """What the check of a model found on one worker, and what follows: how it is treated, and whether it is suspect."""

    result: CheckResult
    profile: ModelProfile
    suspicion: Suspicion | None


class Report(NamedTuple):
    """The content of a report, which shows no texts of queries and documents.

    Args:
        sample: The sample; only its numbers are shown.
        measured: The measurements of each worker.
        checked: The check of each worker, in the same order.
        verdict: The verdict on the measurements.
        min_batch: The setting in force.
    """

    sample: Sample
    measured: Sequence[Measured]
    checked: Sequence[Checked]
    verdict: Verdict
    min_batch: int

    @property
    def needs_action(self) -> bool:
        """True if somebody has to change how the workers are set up."""
        return self.verdict.needs_action or any(check.suspicion for check in self.checked)


def as_json(report: Report) -> dict[str, Any]:
    """The report for JSON; docs/verify.md describes the fields."""
    verdict = report.verdict
    return {
        "model": report.measured[0].fingerprint.model,
        "sample": {"queries": len(report.sample), "documents": sum(map(len, report.sample))},
        "workers": [_worker(each, check) for each, check in zip(report.measured, report.checked, strict=True)],
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


def _worker(measured: Measured, check: Checked) -> dict[str, Any]:
    return {
        "name": measured.worker,
        **{name: getattr(measured.fingerprint, name) for name in ("root", "version", "max_model_len")},
        "verdict": split_kind(measured),
        "check": {
            **{name: getattr(check.result, name) for name in ("kept", "asked", "unsure_of")},
            "profile": asdict(check.profile),
            "suspicion": asdict(check.suspicion) if check.suspicion else None,
        },
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
    for worker, check in zip(report.measured, report.checked, strict=True):
        if one := check.suspicion:
            yield f"\n{worker.worker}: served wrongly, likeliest for {one.cause}: {one.seen}; {one.fix}"
    yield f"\n{verdict.text}"
    if verdict.advice:
        yield verdict.advice
    if verdict.max_batch:
        lower = f", and RERANK_MIN_BATCH no higher (it is {report.min_batch})"
        yield f"recommended: RERANK_MAX_BATCH={verdict.max_batch}{lower * (report.min_batch > verdict.max_batch)}"
