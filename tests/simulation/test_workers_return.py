"""A worker that was in trouble has work again soon after it is well, whatever happened: on a virtual clock."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import pytest

from app.assembly import Assembly
from app.errors import (
    AttemptTimeout,
    BadGateway,
    Busy,
    DeadlineExceeded,
    Misconfigured,
    NoWorker,
    Overloaded,
    Unavailable,
    Unreachable,
)
from app.types import Scored
from app.workers.link import Identity
from tests.virtual import ScriptedLink, ScriptedSource, engine, on_virtual_clock, right_scores, score
from tests.waiting import until

DOCUMENTS = [f"document {number}" for number in range(64)]
# The longest pause of a breaker, spread by a fifth, and the time that a probe has.
BACK_WITHIN_S = 4 * 1.2 + 5


@on_virtual_clock
async def test_a_worker_that_clients_give_up_on_during_its_probe_is_asked_again_and_used():
    link = ScriptedLink("w")
    async with engine([link], probe_interval_s=10, no_worker_wait_s=20) as made:
        (worker,) = made.registry.workers
        link.probes_take_s = 3
        await until(lambda: link.asked == 2)
        made.prober.mark_failing(worker, AttemptTimeout("w didn't answer for 1.0 s"))
        asked = asyncio.create_task(score(made, DOCUMENTS))
        await asyncio.sleep(3)
        link.probes_take_s = 0
        await asyncio.sleep(BACK_WITHIN_S)
        assert made.registry.usable(worker.serves["m"]) == [worker]
        assert (await asked).scores == right_scores(DOCUMENTS)
        probes = link.asked
        await asyncio.sleep(100)
        assert link.asked > probes


@on_virtual_clock
async def test_a_refusal_after_a_standstill_is_forgiven_and_the_worker_weighed_at_once():
    """It may have been restarted meanwhile, with other weights."""
    link = ScriptedLink("w")
    async with engine([link], probe_interval_s=10) as made:
        (worker,) = made.registry.workers
        before = worker.serves["m"]
        link.problem, link.shift = Unreachable("w refused the connection"), 0.5
        _stand_still(15)
        await asyncio.sleep(0.1)
        assert worker.is_usable
        link.problem = None
        await asyncio.sleep(2)
        assert worker.is_usable
        assert worker.serves["m"] != before


@on_virtual_clock
async def test_a_standstill_of_the_gateway_is_blamed_on_no_worker():
    links = [ScriptedLink(name, probes_take_s=0.05) for name in ("a", "b")]
    async with engine(links, probe_interval_s=10, probe_timeout_s=5) as made:
        for _ in range(5):
            await _until_one_is_asked(links)
            _stand_still(20)
            await asyncio.sleep(0.1)
            assert all(worker.is_usable for worker in made.registry.workers)


async def _until_one_is_asked(links: Sequence[ScriptedLink]) -> None:
    asked = sum(link.asked for link in links)
    await until(lambda: sum(link.asked for link in links) > asked)


def _stand_still(seconds: float) -> None:
    asyncio.get_running_loop().now += seconds  # type: ignore[attr-defined]  # the loop of these tests


@dataclass
class Odd(ScriptedLink):
    """Is asked in a way that nobody foresaw to fail."""

    failures: deque[Exception] = field(default_factory=deque)

    async def identify(self) -> Identity:
        if self.failures:
            raise self.failures.popleft()
        return await super().identify()


@pytest.mark.parametrize("failure", [UnicodeEncodeError("ascii", "é", 0, 1, "no"), TypeError("unhashable")])
@on_virtual_clock
async def test_a_worker_that_cannot_be_asked_for_unforeseen_reasons_is_asked_again(failure: Exception):
    link = Odd("w", failures=deque([failure] * 3))
    async with engine([link], fails={"probe"}) as made:
        await asyncio.sleep(3 * BACK_WITHIN_S)
        assert made.registry.workers[0].is_usable


@on_virtual_clock
async def test_a_request_whose_workers_change_again_and_again_is_scored_by_the_last_of_them():
    links = {name: ScriptedLink(name, version=name, takes_s=0.1) for name in ("old", "new")}
    source = ScriptedSource()
    async with engine(
        [*links.values()], search=lambda *_: [source], max_batch=8, min_batch=1, worker_max_calls=1
    ) as made:
        await source.show("old")
        asked = asyncio.create_task(score(made, DOCUMENTS))
        for name in ("new", "old", "new", "old"):
            await asyncio.sleep(0.35)
            await source.show(name)
        assert (await asked).scores == right_scores(DOCUMENTS)
    assert all(len(link.calls) > 5 for link in links.values())


class Story:
    """Chance acts on workers, their source and the operator; the registry has to be right after every step."""

    def __init__(self, made: Assembly, source: ScriptedSource, links: Sequence[ScriptedLink], rng: Random) -> None:
        self.made, self.source, self.links, self.rng = made, source, links, rng
        self.there = {link.name: True for link in links}
        self.asked: list[asyncio.Task[object]] = []

    async def step(self) -> None:
        link = self.rng.choice(self.links)
        worker = next((one for one in self.made.registry.workers if one.name == link.name), None)
        act = self.rng.choice(
            ["probe", "probe", "failing", "failing", "drain", "ready", "leave", "version", "ask", "stall"]
        )
        if act == "probe":
            problems = [None, None, Unreachable("refused"), Unavailable("500"), Busy("503"), Misconfigured("401")]
            link.problem, link.hangs_probes = self.rng.choice(problems), self.rng.random() < 0.2
            link.probes_take_s = self.rng.choice([0.0, 0.3, 3.0])
        elif act == "failing" and worker:
            self.made.prober.mark_failing(worker, self.rng.choice([AttemptTimeout("hung"), Unreachable("refused")]))
        elif act == "drain" and worker:
            worker.is_drained = self.rng.choice([True, False])
        elif act in {"ready", "leave"}:
            self.there[link.name] = act == "ready" and self.rng.random() < 0.6
            if act == "leave" and self.rng.random() < 0.5:
                del self.there[link.name]
            await self._show()
        elif act == "version":
            link.version = self.rng.choice(["1", "2"])
        elif act == "ask":
            self.asked.append(asyncio.create_task(score(self.made, DOCUMENTS[:3], within_s=5)))
        elif act == "stall":
            _stand_still(self.rng.choice([0.7, 3, 20]))
        self.check()
        await asyncio.sleep(self.rng.choice([0, 0, 0.01, 0.3, 1, 7]))
        self.check()

    def check(self) -> None:
        """Whoever derives something from the workers has derived it from what they are now."""
        workers = self.made.registry.workers
        for mark in {mark for worker in workers for mark in worker.serves.values()}:
            now = [one for one in workers if one.is_usable and one.serves.get(mark.model) == mark]
            assert self.made.registry.usable(mark) == now
        names = {mark for worker in workers for mark in worker.serves.values()}
        assert {*self.made.registry.models().values()} <= names

    async def end_well(self) -> None:
        """Take all faults back."""
        for link in self.links:
            link.problem, link.hangs_probes, link.probes_take_s, link.version = None, False, 0.0, "1"
        for worker in self.made.registry.workers:
            worker.is_drained = False
        self.there = {link.name: True for link in self.links}
        await self._show()

    async def _show(self) -> None:
        ready = [name for name, is_ready in self.there.items() if is_ready]
        await self.source.show(*ready, waiting=[name for name in self.there if name not in ready])


@pytest.mark.parametrize("seed", range(40))
@on_virtual_clock
async def test_whatever_happens_the_fleet_knows_who_is_usable_and_who_is_well_is_used_again(seed: int):
    links = [ScriptedLink(name) for name in ("a", "b", "c")]
    source = ScriptedSource()
    async with engine(links, seed=seed, search=lambda *_: [source], probe_interval_s=10, probe_timeout_s=5) as made:
        story = Story(made, source, links, Random(seed))
        await source.show("a", "b", "c")
        for _ in range(100):
            await story.step()
        await story.end_well()
        await asyncio.sleep(BACK_WITHIN_S)
        assert [worker.name for worker in made.registry.workers if not worker.is_usable] == []
        story.check()
        assert (await score(made, DOCUMENTS)).scores == right_scores(DOCUMENTS)
        answers = await asyncio.gather(*story.asked, return_exceptions=True)
    for answer in answers:
        assert isinstance(answer, NoWorker | DeadlineExceeded | BadGateway | Overloaded | Scored), repr(answer)
        if isinstance(answer, Scored):
            assert answer.scores == right_scores(DOCUMENTS[:3])
