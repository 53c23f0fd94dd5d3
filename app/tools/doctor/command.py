"""The work of `rerank-gateway doctor`: an examination, its printed findings and the exit code."""

import asyncio

import typer
from rich.console import Console

from app.settings.addresses import without_password
from app.telemetry import log
from app.tools.doctor import Options, diagnose
from app.tools.doctor.findings_report import as_json, show


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
        typer.echo(as_json(found, url))
    else:
        show(found, url, Console())
    return 1 if found.worst == "red" else 0
