"""A clock that jumps to the next timer, and workers that do as they are told: hours of faults in milliseconds."""

import asyncio
import functools
import selectors
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from app.assembly import Assembly, Search
from app.errors import WorkerError
from app.main import create_app
from app.settings import Settings
from app.telemetry.metrics.catalog import process
from app.types import Answer, CacheUse, Pairs, RequestContext, RequestStats, RerankRequest, Scored, Side, text_of
from app.workers.discovery import sources
from app.workers.discovery.source import Endpoints
from app.workers.fingerprinter import PROBE_PREFIX
from app.workers.link import Identity, ServedModel
from app.workers.model_check import CHECK_PREFIX
from tests.fake_vllm import score_of


class ScoreCall(NamedTuple):
    """What a link was asked to score."""

    model: str
    pairs: Pairs
    fields: Mapping[str, Any]
    request_id: str

    @property
    def texts(self) -> list[str]:
        """The texts of its documents."""
        return [*map(text_of, self.pairs.documents)]


Script = Callable[[ScoreCall], Awaitable[Answer]]


class VirtualLoop(asyncio.SelectorEventLoop):
    """Where a real loop would sleep, this one sets its clock forward."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.now


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits and no timer is set: a deadlock")
        self._loop.now += max(0.0, timeout)
        return super().select(0)


def on_virtual_clock(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on a virtual clock; it fails when it leaves tasks behind."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(_without_leftovers(test(*args, **kwargs)))

    return run


async def _without_leftovers(test: Coroutine[Any, Any, None]) -> None:
    await test
    await asyncio.sleep(0)
    leftovers = asyncio.all_tasks() - {asyncio.current_task()}
    assert not leftovers, f"left behind: {leftovers}"


@dataclass
class ScriptedLink:
    """A worker in memory. While it has `problem` every call ends in it, while it has `scores_problem` every
    probe's scoring; `reverses` turns its order in a check around.

    `script` says how coming calls go, after it `always`; without both it scores after `takes_s`.
    """

    name: str
    model: str = "m"
    version: str = "1"
    max_model_len: int = 512
    takes_s: float = 0.01
    per_document_s: float = 0.0
    script: deque[Script | WorkerError] = field(default_factory=deque)
    always: Script | WorkerError | None = None
    problem: WorkerError | None = None
    scores_problem: WorkerError | None = None
    hangs: bool = False
    hangs_probes: bool = False
    hangs_checks: bool = False
    reverses: bool = False
    probes_take_s: float = 0.0
    shift: float = 0.0
    calls: list[ScoreCall] = field(default_factory=list)
    checks: list[ScoreCall] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    cancelled: int = 0
    asked: int = 0
    is_closed: bool = False
    uses: int = 0

    def begin(self) -> "ScriptedLink":
        """Begin one more use: a worker that left and came back has calls of both times under way."""
        self.uses += 1
        return self

    async def identify(self) -> Identity:
        self.asked += 1
        await asyncio.sleep(self.probes_take_s)
        if self.problem:
            raise self.problem
        return Identity(self.version, [ServedModel(self.model, "/models/m", self.max_model_len)])

    async def count_tokens(self, model: str, text: str, *, request_id: str) -> int:
        return len(text.split())

    async def score(self, model: str, pairs: Pairs, fields: Mapping[str, Any], *, request_id: str) -> Answer:
        call = ScoreCall(model, pairs, fields, request_id)
        if request_id.startswith(CHECK_PREFIX):
            return await self._answer_check(call)
        if request_id.startswith(PROBE_PREFIX):
            return await self._answer_probe(call)
        self.calls.append(call)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.problem:
                raise self.problem
            if self.hangs:
                await asyncio.sleep(3600)
            step = self.script.popleft() if self.script else self.always
            if isinstance(step, WorkerError):
                raise step
            if step:
                return await step(call)
            return await self.answer(call)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1

    async def _answer_probe(self, call: ScoreCall) -> Answer:
        if problem := self.problem or self.scores_problem:
            raise problem
        if self.hangs or self.hangs_probes:
            await asyncio.sleep(3600)
        return Answer([score + self.shift for score in right_scores(call.pairs.documents)], 1)

    async def _answer_check(self, call: ScoreCall) -> Answer:
        if self.problem:
            raise self.problem
        self.checks.append(call)
        await asyncio.sleep(3600 if self.hangs or self.hangs_checks else self.probes_take_s)
        (query,) = call.pairs.queries
        scores = [score_of(query, document) for document in call.pairs.documents]
        return Answer([1 - score for score in scores] if self.reverses else scores, 1)

    async def answer(self, call: ScoreCall) -> Answer:
        pairs = call.pairs
        await asyncio.sleep(self.takes_s + self.per_document_s * len(pairs))
        queries = list(pairs.queries) * (len(pairs) if len(pairs.queries) == 1 else 1)
        scores = [score_of(query, document) for query, document in zip(queries, pairs.documents, strict=True)]
        return Answer(scores, len(scores))

    async def close(self) -> None:
        self.uses -= 1
        self.is_closed = self.uses <= 0
        assert self.in_flight == 0 or not self.is_closed, f"{self.name} was closed with calls in flight"


@dataclass
class SerialLink(ScriptedLink):
    """A worker that scores one call after the other, as far as no script says otherwise."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(self, call: ScoreCall) -> Answer:
        async with self.turn:
            return await super().answer(call)


class ScriptedSource:
    """A source that sees what the test shows it."""

    def __init__(self, name: str = "scripted://source") -> None:
        self.name = name
        self.problem: str | None = f"{name} has not answered yet"
        self.has_answered = False
        self._seen: asyncio.Queue[Endpoints] = asyncio.Queue()

    async def show(self, *ready: str, waiting: Sequence[str] = ()) -> None:
        """Have it see these workers, and be done when the engine has asked the new ones who they are."""
        seen = {f"http://{name}": name in ready for name in (*ready, *waiting)}
        self.problem, self.has_answered = (None, True) if seen else (f"{self.name} has no address", True)
        self._seen.put_nowait(seen)
        await asyncio.sleep(0.001)

    async def watch(self) -> AsyncIterator[Endpoints]:
        while True:
            yield await self._seen.get()


def now() -> float:
    """The time of the running loop, in seconds."""
    return asyncio.get_running_loop().time()


async def elapsed(work: Awaitable[object]) -> float:
    """The seconds that something takes, by the running loop."""
    began = now()
    await work
    return now() - began


def after(seconds: float, error: WorkerError | None = None) -> Script:
    """A step that takes `seconds` and then fails, or never ends without an error."""

    async def step(_: ScoreCall) -> Answer:
        await asyncio.sleep(seconds)
        if error:
            raise error
        raise AssertionError("this step was meant to be left before it ends")

    return step


@asynccontextmanager
async def engine(
    links: Sequence[ScriptedLink],
    *,
    seed: int = 7,
    search: Search = sources,
    fails: AbstractSet[str] = frozenset(),
    **settings: Any,
) -> Any:
    """An engine over scripted workers, all of which that are found at once have been asked who they are.

    At the end nothing may be left, and no background task may have failed but those in `fails`.
    """
    by_url = {f"http://{link.name}": link for link in links}
    chosen: dict[str, Any] = {"workers": tuple(by_url)} | settings
    made = Assembly(
        Settings(**chosen), link_factory=lambda url, _: by_url[url].begin(), search=search, rng=Random(seed)
    )
    async with made.running():
        await asyncio.sleep(0.001)
        yield made
        for worker in made.registry.workers:
            assert (worker.calls, worker.documents, worker.tokens) == (0, 0, 0), f"{worker} kept a slot"
        assert made.admission.pending_documents == 0
        assert made.scheduler.waiting == 0
        assert made.singleflight.pairs == 0
    failed = {one.labels["task"] for one in made.metrics.samples(process.TASK_FAILURES) if one.value}
    assert failed == fails, f"failed in a way nobody foresaw: {failed}"


@asynccontextmanager
async def application(links: Sequence[ScriptedLink], *, seed: int = 7, **settings: Any) -> Any:
    """The whole gateway over scripted workers, as an ASGI application whose workers have been asked who they are."""
    by_url = {f"http://{link.name}": link for link in links}
    chosen: dict[str, Any] = {"workers": tuple(by_url)} | settings
    app = create_app(Settings(**chosen), link_factory=lambda url, _: by_url[url], rng=Random(seed))
    async with app.app.router.lifespan_context(app):
        await asyncio.sleep(0.001)
        yield app


async def score(
    made: Assembly,
    documents: Sequence[Side],
    *,
    within_s: float = 25.0,
    query: Side = "q",
    stats: RequestStats | None = None,
    key: str = "anonymous",
    priority: int = 0,
    takes_degraded: bool = True,
    cache: CacheUse = "no-store",
    **more: Any,
) -> Scored:
    """One request to the engine, which scores all of it unless `cache` says otherwise."""
    return await made.gateway.score(
        RerankRequest(pairs=Pairs([query], documents), **more),
        RequestContext(
            key=key,
            request_id="r",
            deadline=now() + within_s,
            priority=priority,
            takes_degraded=takes_degraded,
            cache=cache,
            stats=stats or RequestStats(),
        ),
    )


def right_scores(documents: Sequence[Side], query: Side = "q") -> list[float]:
    return [score_of(query, document) for document in documents]
