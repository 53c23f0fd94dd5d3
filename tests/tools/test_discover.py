"""Sources of workers that are asked once, by a command."""

import asyncio

from app.tools.discover import look_once
from app.workers.discovery.source import Endpoints
from tests.virtual import on_virtual_clock


class Quiet:
    """A source that sees nobody, or only who isn't ready."""

    name = "dns://nowhere:8000"
    has_answered = False

    def __init__(self, problem: str | None, seen: Endpoints | None = None) -> None:
        self.problem = problem
        self._seen = seen

    async def watch(self):
        if self._seen is not None:
            yield self._seen
        await asyncio.sleep(10**6)


@on_virtual_clock
async def test_a_source_that_is_silent_is_named_with_its_problem():
    found = await look_once(Quiet("dns://nowhere:8000 can't be looked up: no"), limit_s=4)
    assert (found.endpoints, found.problem) == ({}, "dns://nowhere:8000 can't be looked up: no")
    found = await look_once(Quiet(None), limit_s=4)
    assert (found.endpoints, found.problem) == ({}, "dns://nowhere:8000 gave no answer in 4 s")


@on_virtual_clock
async def test_a_source_that_sees_none_that_is_ready_is_named():
    found = await look_once(Quiet(None, {"http://a:1": False}), limit_s=4)
    assert (found.endpoints, found.problem) == ({"http://a:1": False}, "dns://nowhere:8000 has none that is ready")
