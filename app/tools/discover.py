"""Discovery of workers by a command, which asks every source once."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from random import Random
from typing import NamedTuple

from app.aio import in_parallel
from app.workers.discovery import sources
from app.workers.discovery.source import Endpoints, Source


class Discovered(NamedTuple):
    """The workers that a source saw first.

    Args:
        name: The source's name.
        endpoints: The URLs of its workers, and whether they are ready; empty when it sees none.
        problem: The reason why none is ready, if so.
    """

    name: str
    endpoints: Endpoints
    problem: str


async def discover(addresses: Sequence[str], *, limit_s: float) -> Sequence[Discovered]:
    """The workers of all sources that entries of `RERANK_WORKERS` name, each given so many seconds."""
    return await in_parallel([look_once(source, limit_s=limit_s) for source in sources(addresses, Random())])  # noqa: S311 - jitter


async def look_once(source: Source, *, limit_s: float) -> Discovered:
    """The workers that a source sees first; later changes don't matter to a command."""
    try:
        async with asyncio.timeout(limit_s), aclosing(source.watch()) as watch:  # type: ignore[type-var] # all sources are generators
            return Discovered(
                source.name, await anext(watch), source.problem or f"{source.name} has none that is ready"
            )
    except TimeoutError:
        return Discovered(source.name, {}, source.problem or f"{source.name} gave no answer in {limit_s:g} s")
