"""Discovery of the workers to examine."""

import asyncio
from contextlib import aclosing
from random import Random
from typing import TYPE_CHECKING, cast

from app.settings.addresses import LEXICAL
from app.tools.doctor.findings import Findings
from app.tools.doctor.options import Options
from app.workers.discovery import sources
from app.workers.discovery.source import Source
from app.workers.discovery.static import StaticSource

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from app.workers.discovery.source import Endpoints

_LOOK_S = 4.0


async def workers_of(options: Options, found: Findings) -> list[str]:
    """The URLs of all workers: those named, and those that sources discover now."""
    entries = options.workers or options.settings.workers
    if not entries:
        fix = "add --worker URL, or run it with the gateway's settings"
        found.yellow("workers-found", "none is named here, so none was examined", fix)
        return []
    urls: list[str] = []
    for source, seen_urls in await asyncio.gather(*(_look(source) for source in sources(entries, Random()))):  # noqa: S311 - jitter
        urls += [url for url in seen_urls if not url.startswith(LEXICAL)]
        if seen_urls:
            name = "--worker" if options.workers and isinstance(source, StaticSource) else source.name
            found.green("workers-found", f"{name} has {_counted(len(seen_urls))}")
        else:
            fix = "run it where the gateway runs (kubectl exec, docker exec), or name workers by --worker"
            found.yellow("workers-found", source.problem or f"{source.name} gave no answer in {_LOOK_S:g} s", fix)
    return list(dict.fromkeys(urls))


async def _look(source: Source) -> tuple[Source, list[str]]:
    """The first workers that a source discovers."""
    try:
        async with (
            asyncio.timeout(_LOOK_S),
            aclosing(cast("AsyncGenerator[Endpoints, None]", source.watch())) as watch,
        ):
            async for seen in watch:
                return source, list(seen)
    except TimeoutError:
        pass
    return source, []


def _counted(workers: int) -> str:
    return f"{workers} worker{'' if workers == 1 else 's'}"
