"""A gateway in a simulation: the product's own application, over simulated workers and discovery."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from math import inf
from random import Random
from typing import Any
from unittest.mock import patch

import structlog
from starlette.types import Receive, Send

import app.main
from app import assembly
from app.api import admin, rerank
from app.api.auth import Keys
from app.assembly import Assembly, Search
from app.main import create_app
from app.policy.pair_digest import SECRET_BYTES
from app.server.run import Drain
from app.settings import Settings
from app.workers.link import WorkerLink
from tests.simulation.record import Note, Record

SECRETS = {"alpha": "secret-of-alpha", "beta": "secret-of-beta", "gamma": "secret-of-gamma"}
_WRONG = ("error", "critical")


class Replica:
    """One gateway's process.

    Args:
        number: Which one.
        settings: As it was started with.
        link: Makes its link to the worker behind a URL.
        search: Makes its sources of workers.
        rng: Its chance.
    """

    def __init__(
        self,
        number: int,
        settings: Settings,
        *,
        link: Callable[[str, Settings], WorkerLink],
        search: Search,
        rng: Random,
    ) -> None:
        self.number = number
        self.drain = Drain()
        self.keys = Keys(settings.keys)
        # When it stops to listen.
        self.closes_at = inf
        made: list[Assembly] = []

        def assemble(*args: Any, **kwargs: Any) -> Assembly:
            made.append(assembly.Assembly(*args, **kwargs))
            return made[-1]

        with patch.object(app.main, "Assembly", assemble):
            self._app = create_app(
                settings, link_factory=link, search=search, rng=rng, drain=self.drain, keys=self.keys
            )
        self.engine = made[0]

    async def serve(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._app(dict(scope), receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Be up until the end of the block."""
        async with self._app.app.router.lifespan_context(self._app):
            yield


class _WithoutRequests(structlog.BoundLogger):
    """A logger that leaves out the line of each request: the record has all that it says."""

    def log(self, *_: Any, **__: Any) -> None:
        pass


@contextmanager
def quick_and_quiet(record: Record, elapsed_s: Callable[[], float]) -> Iterator[None]:
    """Have gateways log into the record, and leave out what only documents their routes: it takes longer than a run."""

    def keep(_: Any, level: str, event: MutableMapping[str, Any]) -> str:
        name = event.pop("event")
        told = " ".join(f"{key}={value}" for key, value in event.items() if key != "exc_info")
        if failure := event.get("exc_info"):
            told += f" {failure!r}"
        note = Note(elapsed_s(), "gateway", f"logs {name} {told}".strip())
        record.notes.append(note)
        if level in _WRONG or name == "bug":
            record.bugs.append(note)
        raise structlog.DropEvent

    before = structlog.get_config()
    with ExitStack() as stack:
        stack.callback(structlog.configure, **before)
        structlog.configure(processors=[keep], wrapper_class=_WithoutRequests, cache_logger_on_first_use=False)
        for owner, name, replacement in (
            (rerank, "describe", lambda _: {}),
            (admin, "described", lambda *_: {"include_in_schema": False}),
            (assembly, "token_bytes", lambda _: bytes(SECRET_BYTES)),
        ):
            stack.enter_context(patch.object(owner, name, replacement))
        yield
