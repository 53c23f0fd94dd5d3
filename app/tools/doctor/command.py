"""The command's own part: run an examination, print it, and say how it ended."""

import asyncio

import typer
from rich.console import Console

from app.settings.addresses import without_password
from app.telemetry import log
from app.tools.doctor import Options, diagnose
from app.tools.doctor.findings_report import as_json, show


def run(options: Options, *, prints_json: bool) -> int:
    """The exit code: 0 without a red finding, 1 with one.

    Raises:
        SettingsError: a file with certificates can't be used.
    """
    # Sources of workers log what this tells itself.
    log.configure(style="console", level="error")
    # The sign of life goes where it can't get into what is printed, and only to a terminal.
    with Console(stderr=True).status("Examining; this takes up to 30 s, with --full two minutes"):
        found = asyncio.run(diagnose(options))
    url = without_password(options.url.partition("?")[0])
    if prints_json:
        typer.echo(as_json(found, url))
    else:
        show(found, url, Console())
    return 1 if found.worst == "red" else 0
