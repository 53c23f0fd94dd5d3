"""Workers that are written down."""

from collections.abc import AsyncIterator, Sequence

from app.workers.discovery.source import Endpoints


class StaticSource:
    """The workers whose URLs stand in the settings; they are always there."""

    name = "RERANK_WORKERS"
    problem = None
    has_answered = True

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls

    async def watch(self) -> AsyncIterator[Endpoints]:
        yield dict.fromkeys(self._urls, True)
