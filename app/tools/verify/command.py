"""The work of `rerank-gateway verify`, from settings to an exit code."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import orjson
from rich.console import Console
from rich.progress import Progress

from app.errors import BadInput, WorkerError
from app.policy.model_profile import profile_from
from app.policy.suspicion import suspicion_of
from app.settings import Settings, SettingsError
from app.telemetry import log
from app.tools.verify.compare import Measured
from app.tools.verify.pictures import pictures
from app.tools.verify.report import Checked, Report, as_json, show
from app.tools.verify.runs import documents_to_score, measure
from app.tools.verify.sample import Sample, SampleError, built_in, read
from app.tools.verify.scorer import NotThere, Scorer, serving
from app.tools.verify.verdict import judge

_SAFE, _NEEDS_ACTION, _UNUSABLE = 0, 1, 2
_SEED = 7
# A console as wide as the table, where there is no terminal that has a width.
_WIDTH = 120


def run(settings: Settings, *, model: str | None, sample_file: Path | None, images: bool, prints_json: bool) -> int:
    """Verify, print the report, and return the exit code.

    Args:
        settings: Name the workers and how the gateway treats them.
        model: Name of the model; None when there is only one.
        sample_file: The sample; None for a built-in one.
        images: Take the built-in sample of pictures.
        prints_json: Print JSON for programs.
    """
    # Standard output is the report's alone, and what discovery would log is part of its error.
    log.configure(style="console", level="error")
    try:
        sample = read(sample_file) if sample_file else pictures() if images else built_in()
        report = asyncio.run(_report(settings, sample, model))
    except (SampleError, NotThere, SettingsError) as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - what a command prints
        return _UNUSABLE
    if prints_json:
        print(orjson.dumps(as_json(report), option=orjson.OPT_INDENT_2).decode())  # noqa: T201 - as above
    else:
        show(report, Console(width=None if sys.stdout.isatty() else _WIDTH))
    return _NEEDS_ACTION if report.needs_action else _SAFE


async def _report(settings: Settings, sample: Sample, model: str | None) -> Report:
    async with serving(settings, model) as found:
        checked = [await _checked(scorer) for scorer in found]
        scorers = [replace(scorer, profile=check.profile) for scorer, check in zip(found, checked, strict=True)]
        with _progress(len(scorers) * documents_to_score(sample)) as advance:
            # One worker after the other: two on one machine would slow each other down.
            measured = [await _measured(replace(scorer, on_scored=advance), sample) for scorer in scorers]
    verdict = judge(
        measured,
        is_whole=any(map(scorers[0].profile.keeps_whole, sample)),
        usual_max_batch=Settings.model_fields["max_batch"].default,
        holds_images=any(pairs.hold_images() for pairs in sample),
    )
    return Report(sample, measured, checked, verdict, settings.min_batch)


async def _checked(scorer: Scorer) -> Checked:
    with _naming(scorer):
        result = await scorer.check()
    profile = profile_from(scorer.settings.for_model(scorer.fingerprint.model).traits, result.learned)
    return Checked(result, profile, suspicion_of(result, scorer.fingerprint, used=profile.truncation))


async def _measured(scorer: Scorer, sample: Sample) -> Measured:
    with _naming(scorer):
        return await measure(scorer, sample, Random(_SEED))  # noqa: S311 - shuffles texts


@contextmanager
def _naming(scorer: Scorer) -> Iterator[None]:
    """Have failures in the block end the command, with the worker's name."""
    name = scorer.link.name
    try:
        yield
    except (WorkerError, BadInput) as exc:
        raise NotThere(str(exc) if name in str(exc) else f"{name}: {exc}") from exc


@contextmanager
def _progress(documents: int) -> Iterator[Callable[[int], None]]:
    """A function that advances a progress bar, which is shown if standard error is a terminal."""
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("scoring", total=documents)
        yield lambda scored: progress.advance(task, scored)
