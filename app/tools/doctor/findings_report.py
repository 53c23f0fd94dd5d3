"""Reports of findings: text for people, JSON for programs."""

import json
from itertools import groupby

from rich.console import Console
from rich.text import Text

from app.tools.doctor.findings import Findings, Level

_COLOURS: dict[Level, str] = {"green": "green", "yellow": "yellow", "red": "bold red"}


def show(found: Findings, url: str, console: Console) -> None:
    """Print the findings by subject: one line for what was seen, and below red and yellow one with the fix."""
    console.print(Text(f"Examined as Milvus sees it: {url}"))
    for subject, findings in groupby(found, key=lambda finding: finding.subject):
        console.print(Text(f"\n{subject}", style="bold"), soft_wrap=True)
        for finding in findings:
            line = Text.assemble((f"  {finding.level:<6} ", _COLOURS[finding.level]), f"{finding.id}: {finding.seen}")
            console.print(line, soft_wrap=True)
            if finding.fix:
                console.print(Text(f"         -> {finding.fix}"), soft_wrap=True)
    levels = [finding.level for finding in found]
    counted = ", ".join(f"{levels.count(level)} {level}" for level in _COLOURS)
    console.print(Text(f"\n{counted}", style=_COLOURS[found.worst]))


def as_json(found: Findings, url: str) -> str:
    """The findings as a JSON object."""
    checks = [
        {"id": one.id, "subject": one.subject, "level": one.level, "seen": one.seen, "fix": one.fix} for one in found
    ]
    return json.dumps({"url": url, "worst": found.worst, "checks": checks}, indent=2)
