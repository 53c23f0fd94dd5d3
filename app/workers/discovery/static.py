"""Static discovery: workers that are listed in the settings."""

from collections.abc import AsyncIterator, Sequence

from app.workers.discovery.source import Endpoints


class StaticSource:
    """A source of the workers whose URLs stand in the settings; they are always there."""

    name = "RERANK_WORKERS"
    problem = None
    has_answered = True

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls

    async def watch(self) -> AsyncIterator[Endpoints]:
        yield dict.fromkeys(self._urls, True)
