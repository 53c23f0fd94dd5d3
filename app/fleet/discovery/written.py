"""Workers that are written down."""

from collections.abc import AsyncIterator, Sequence

from app.fleet.discovery.source import Seen


class Written:
    """The workers whose URLs stand in the settings; they are always there."""

    name = "RERANK_WORKERS"
    trouble = None
    has_answered = True

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls

    async def watch(self) -> AsyncIterator[Seen]:
        yield dict.fromkeys(self._urls, True)
