"""Findings: the level, the observation and the fix of each check."""

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Level = Literal["green", "yellow", "red"]

# Every check, by its subject; reports keep this order.
CHECKS: Mapping[str, tuple[str, ...]] = {
    "Address": ("address", "certificate", "path"),
    "Key": ("key", "wrong-key"),
    "Model": ("model", "unknown-model"),
    "Requests of Milvus": ("milvus-2.6", "milvus-2.6.0", "milvus-3.0", "milvus-truncate", "trailing-slash"),
    "Other providers of Milvus": ("milvus-tei", "milvus-voyageai"),
    "Answers": ("results", "scores", "range", "tokens", "encoding", "duplicates", "order", "error-body"),
    "Connections": ("keep-alive",),
    "Limits": ("documents", "body"),
    "Time": ("time", "deadline"),
    "Workers": ("workers-found", "worker-answers", "worker-version", "worker-health", "worker-model"),
    "Scores of workers": ("worker-scores", "worker-score-route", "worker-queue", "worker-ranking"),
    "Connections to workers": ("worker-keep-alive",),
    "Workers of one model": ("workers-agree", "workers-scores"),
}
_SUBJECTS = {check: subject for subject, checks in CHECKS.items() for check in checks}
_PLACES = {check: place for place, check in enumerate(_SUBJECTS)}


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Args:
        id: Id of the check.
        subject: The subject of the check.
        level: Red breaks searches, yellow costs something or could not be checked.
        seen: One line; never a key, never text of a user.
        fix: One line with the settings or flags to change; "" for green.
    """

    id: str
    subject: str
    level: Level
    seen: str
    fix: str


class Findings:
    """The findings so far, to which concurrent checks add theirs.

    Args:
        until: Time limit for all checks, on the loop's clock.
        about: The worker they are about, where there are several.
    """

    def __init__(self, until: float, about: str = "") -> None:
        self.until = until
        self._about = f"{about}: " if about else ""
        self._found: list[Finding] = []

    def __iter__(self) -> Iterator[Finding]:
        return iter(sorted(self._found, key=lambda finding: _PLACES[finding.id]))

    @property
    def worst(self) -> Level:
        """The level of the worst finding."""
        levels = {finding.level for finding in self._found}
        return "red" if "red" in levels else "yellow" if "yellow" in levels else "green"

    def green(self, check: str, seen: str) -> None:
        """Add a finding that all is well."""
        self._add(check, "green", seen)

    def yellow(self, check: str, seen: str, fix: str) -> None:
        """Add a finding that something works at a cost, or couldn't be checked."""
        self._add(check, "yellow", seen, fix)

    def red(self, check: str, seen: str, fix: str) -> None:
        """Add a finding that searches fail, or get wrong scores."""
        self._add(check, "red", seen, fix)

    def take(self, others: Iterable[Finding]) -> None:
        """Add the findings of another examination."""
        self._found.extend(others)

    async def run(self, work: Awaitable[None], *checks: str) -> None:
        """Run checks until the time limit, and add yellow findings for those that have none by then.

        Args:
            work: Runs them, and adds their findings to these.
            checks: Their ids.
        """
        try:
            async with asyncio.timeout_at(self.until):
                await work
        except OSError as exc:
            why = "the time was over" if isinstance(exc, TimeoutError) else str(exc)
            for check in {*checks} - {finding.id for finding in self._found}:
                self.yellow(check, f"{self._about}not checked: {why}", "heal what is red or slow, then run it again")

    def _add(self, check: str, level: Level, seen: str, fix: str = "") -> None:
        self._found.append(Finding(check, _SUBJECTS[check], level, seen, fix))
