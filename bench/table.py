"""A run of the suite as tables in the terminal."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from bench.goals import GOALS, Goal
from bench.report import Report

_COLOURS = {"met": "green", "accepted": "yellow", "missed": "red", "not measured": "dim"}
# The columns that compare the gateway with others: what the report calls it, and its heading.
COMPARED = {
    "cpu_ms.unknown": "CPU, 32 documents",
    "cpu_ms.big": "CPU, 1000 documents",
    "p50_ms.1": "p50, 1 client",
    "p99_ms.1": "p99, 1 client",
    "p50_ms.10": "p50, 10 clients",
    "p99_ms.10": "p99, 10 clients",
}


def show(report: Report, console: Console) -> None:
    """Print goals, comparison, and what is missing."""
    goals = Table("what", "goal", "accepted", "measured", "met?", title="goals", title_justify="left")
    for row, verdict in goal_rows(report):
        goals.add_row(*row, style=_COLOURS[verdict])
    console.print(goals)
    for what, obstacle in obstacles(report):
        console.print(f"{what}: {obstacle}", markup=False)
    compared = Table("ms per request", *COMPARED.values(), title="compared", title_justify="left")
    for row in compared_rows(report):
        compared.add_row(*row)
    console.print(compared)
    console.print(shares(report), markup=False)
    for name, reason in report.missing.items():
        console.print(f"{name}: {reason.splitlines()[-1]}", style="yellow", markup=False)


def goal_rows(report: Report) -> Iterator[tuple[Sequence[str], str]]:
    """The cells of each goal, and its verdict."""
    for goal in GOALS:
        verdict = goal.verdict(report.figures)
        measured = goal.measured(report.figures)
        seen = "" if measured is None else _written(measured, goal)
        accepted = ", and ".join(filter(None, [_written(goal.accepted, goal), goal.condition]))
        yield (goal.what, _written(goal.goal, goal), accepted, seen, verdict), verdict


def obstacles(report: Report) -> Iterator[tuple[str, str]]:
    """What keeps the goals that aren't met from it, by what they are about."""
    for goal in GOALS:
        if goal.obstacle and goal.verdict(report.figures) in {"accepted", "missed"}:
            yield goal.what, goal.obstacle


def compared_rows(report: Report) -> Iterator[Sequence[str]]:
    """The cells of each server that was compared, the cheapest first; the worker called directly ends it."""
    costs = report.figures.get("cpu_ms.unknown", {})
    for name in [*sorted(costs, key=lambda name: costs[name]), "worker"]:
        cells = [report.figures.get(what, {}).get(name) for what in COMPARED]
        yield (name, *("" if cell is None else f"{cell:.2f}" for cell in cells))


def shares(report: Report) -> str:
    """The gateway's CPU time for 32 documents beside that of the others, in a sentence; "" when it wasn't measured."""
    costs = report.figures.get("cpu_ms.unknown", {})
    others = {"litellm": "LiteLLM's", "plain proxy": "the plain proxy's"}
    told = [
        f"{100 * costs['gateway'] / costs[name]:.1f} % of {whose}"
        for name, whose in others.items()
        if {"gateway", name} <= costs.keys()
    ]
    return f"The gateway's CPU time for 32 documents is {' and '.join(told)}." if told else ""


def _written(number: float, goal: Goal) -> str:
    return f"{number:g} {goal.unit}".replace(" x", "x").strip()
