"""Where the workers are: as named, or as their sources see them now."""

import asyncio
from contextlib import aclosing
from random import Random
from typing import TYPE_CHECKING, cast

from app.address import LEXICAL
from app.fleet.discovery import sources
from app.fleet.discovery.source import Source
from app.fleet.discovery.written import Written
from app.tools.doctor.exam import Exam
from app.tools.doctor.findings import Findings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from app.fleet.discovery.source import Seen

_LOOK_S = 4.0


async def workers_of(exam: Exam, found: Findings) -> list[str]:
    """The URLs of all workers that can be found."""
    entries = exam.workers or exam.settings.workers
    if not entries:
        fix = "add --worker URL, or run it with the gateway's settings"
        found.yellow("workers-found", "none is named here, so none was examined", fix)
        return []
    urls: list[str] = []
    for source, seen_urls in await asyncio.gather(*(_look(source) for source in sources(entries, Random()))):  # noqa: S311 - jitter
        urls += [url for url in seen_urls if not url.startswith(LEXICAL)]
        if seen_urls:
            name = "--worker" if exam.workers and isinstance(source, Written) else source.name
            found.green("workers-found", f"{name} has {_counted(len(seen_urls))}")
        else:
            fix = "run it where the gateway runs (kubectl exec, docker exec), or name workers by --worker"
            found.yellow("workers-found", source.trouble or f"{source.name} gave no answer in {_LOOK_S:g} s", fix)
    return list(dict.fromkeys(urls))


async def _look(source: Source) -> tuple[Source, list[str]]:
    """The workers a source sees first."""
    try:
        async with (
            asyncio.timeout(_LOOK_S),
            aclosing(cast("AsyncGenerator[Seen, None]", source.watch())) as watch,
        ):
            async for seen in watch:
                return source, list(seen)
    except TimeoutError:
        pass
    return source, []


def _counted(workers: int) -> str:
    return f"{workers} worker{'' if workers == 1 else 's'}"
