"""The work of `rerank-gateway doctor`: an examination, its printed findings and the exit code."""

import asyncio
from itertools import groupby

import orjson
import typer
from rich.console import Console
from rich.text import Text

from app.settings.addresses import without_password
from app.telemetry import log
from app.tools.doctor import Options, diagnose
from app.tools.doctor.findings import Findings, Level

_COLOURS: dict[Level, str] = {"green": "green", "yellow": "yellow", "red": "bold red"}


def run(options: Options, *, prints_json: bool) -> int:
    """Examine, print the findings, and return the exit code: 1 with a red finding, else 0.

    Raises:
        SettingsError: a file with certificates can't be used.
    """
    # Discovery logs problems that are findings here.
    log.configure(style="console", level="error")
    # The spinner goes to standard error, apart from the findings, and only to a terminal.
    with Console(stderr=True).status("Examining; this takes up to 30 s, with --full two minutes"):
        found = asyncio.run(diagnose(options))
    url = without_password(options.url.partition("?")[0])
    if prints_json:
        report = {"url": url, "worst": found.worst, "checks": list(found)}
        typer.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    else:
        _show(found, url, Console())
    return 1 if found.worst == "red" else 0


def _show(found: Findings, url: str, console: Console) -> None:
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
