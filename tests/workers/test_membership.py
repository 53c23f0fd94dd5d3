"""Workers that come and go, on a virtual clock."""

import asyncio
import gc
from collections.abc import AsyncIterator
from random import Random
from weakref import ReferenceType, ref

import pytest
from structlog.testing import capture_logs

from app.assembly import Assembly
from app.errors import NoWorker, Unreachable
from app.settings import Settings
from app.workers.discovery.source import Endpoints
from app.workers.worker import Worker
from tests.virtual import ScriptedLink, ScriptedSource, engine, on_virtual_clock, right_scores, score

DOCUMENTS = [f"document {number}" for number in range(64)]


def _series(made: Assembly, worker: str) -> list[str]:
    return [line for line in made.metrics.render_at_once().decode().splitlines() if f'worker="{worker}"' in line]


@on_virtual_clock
async def test_a_worker_that_joins_gets_work():
    a, b = ScriptedLink("a"), ScriptedLink("b")
    source = ScriptedSource()
    async with engine([a, b], search=lambda *_: [source]) as made:
        await source.show("a")
        await score(made, DOCUMENTS)
        assert not b.asked
        await source.show("a", "b")
        for _ in range(5):
            assert (await score(made, DOCUMENTS)).scores == right_scores(DOCUMENTS)
        assert b.calls


@on_virtual_clock
async def test_a_request_waits_for_the_first_worker_that_is_found():
    source = ScriptedSource()
    async with engine([ScriptedLink("a")], search=lambda *_: [source]) as made:
        asked = asyncio.create_task(score(made, DOCUMENTS))
        await asyncio.sleep(3)
        await source.show("a")
        assert (await asked).scores == right_scores(DOCUMENTS)


@on_virtual_clock
async def test_while_no_worker_is_found_the_client_is_told_where_they_are_looked_for():
    source = ScriptedSource("dns://vllm:8000")
    async with engine([], search=lambda *_: [source]) as made:
        with pytest.raises(NoWorker, match="No worker is usable now: dns://vllm:8000 has not answered yet") as raised:
            await score(made, DOCUMENTS)
        assert raised.value.retry_after_s == 1
        await source.show()
        with pytest.raises(NoWorker, match="No worker is usable now: dns://vllm:8000 has no address"):
            await score(made, DOCUMENTS)


@on_virtual_clock
async def test_a_worker_that_left_gets_no_new_chunk_and_finishes_the_ones_it_has():
    leaving, staying = ScriptedLink("leaving", takes_s=3), ScriptedLink("staying", takes_s=3)
    source = ScriptedSource()
    async with engine([leaving, staying], search=lambda *_: [source]) as made:
        await source.show("leaving", "staying")
        asked = [asyncio.create_task(score(made, [f"{n} {text}" for text in DOCUMENTS])) for n in range(4)]
        await asyncio.sleep(1)
        held = len(leaving.calls)
        assert held
        await source.show("staying")
        assert _series(made, "leaving")
        asked += [asyncio.create_task(score(made, [f"later {n} {text}" for text in DOCUMENTS])) for n in range(4)]
        await asyncio.sleep(1.5)
        assert not leaving.is_closed
        await asyncio.gather(*asked)
        assert (len(leaving.calls), leaving.cancelled) == (held, 0)
        assert leaving.is_closed
        assert not _series(made, "leaving")
        assert _series(made, "staying")


@on_virtual_clock
async def test_a_worker_that_left_is_let_go_when_its_last_call_ran_out_of_time():
    hung = ScriptedLink("hung", takes_s=3600)
    source = ScriptedSource()
    async with engine([hung], search=lambda *_: [source]) as made:
        await source.show("hung")
        asked = asyncio.create_task(score(made, DOCUMENTS, within_s=20))
        await asyncio.sleep(1)
        await source.show()
        await asyncio.sleep(18)
        assert not hung.is_closed
        await asyncio.gather(asked, return_exceptions=True)
        await asyncio.sleep(0)
        assert hung.is_closed


@on_virtual_clock
async def test_a_chunk_that_waits_for_a_worker_that_leaves_goes_to_the_next_that_comes():
    a, b = ScriptedLink("a", takes_s=2), ScriptedLink("b")
    source = ScriptedSource()
    async with engine([a, b], search=lambda *_: [source], worker_max_calls=1) as made:
        await source.show("a")
        asked = [asyncio.create_task(score(made, [f"document {n}"])) for n in range(3)]
        await asyncio.sleep(1)
        await source.show()
        await asyncio.sleep(0.5)
        await source.show("b")
        await asyncio.gather(*asked)
        assert (len(a.calls), len(b.calls)) == (1, 2)


@on_virtual_clock
async def test_a_chunk_that_fails_on_a_worker_that_left_is_scored_by_another():
    a, b = ScriptedLink("a", takes_s=2), ScriptedLink("b")
    source = ScriptedSource()
    async with engine([a, b], search=lambda *_: [source]) as made:
        await source.show("a")
        asked = asyncio.create_task(score(made, DOCUMENTS))
        await asyncio.sleep(1)
        a.script.append(Unreachable("a"))
        asked_too = asyncio.create_task(score(made, DOCUMENTS))
        await source.show("b")
        assert (await asked).scores == (await asked_too).scores == right_scores(DOCUMENTS)


@on_virtual_clock
async def test_a_worker_that_is_not_ready_gets_nothing_new_but_stays_as_it_is():
    a, b = ScriptedLink("a"), ScriptedLink("b")
    source = ScriptedSource()
    async with engine([a, b], search=lambda *_: [source], probe_interval_s=10) as made:
        await source.show("a", "b")
        before = made.registry.workers
        await source.show("b", waiting=["a"])
        for _ in range(10):
            await score(made, DOCUMENTS)
        assert (len(a.calls), len(b.calls)) == (0, 10)
        asked = a.asked
        await asyncio.sleep(100)
        assert 8 <= a.asked - asked <= 13
        await source.show("a", "b")
        assert made.registry.workers == before
        for _ in range(10):
            await score(made, DOCUMENTS)
        assert a.calls


@on_virtual_clock
async def test_when_no_worker_is_ready_the_client_is_told_so():
    source = ScriptedSource()
    async with engine([ScriptedLink("a")], search=lambda *_: [source]) as made:
        await source.show(waiting=["a"])
        with pytest.raises(NoWorker, match="a is not ready"):
            await score(made, DOCUMENTS)


@on_virtual_clock
async def test_a_worker_that_comes_back_has_its_state_new_while_the_old_one_finishes():
    links = [ScriptedLink("a", takes_s=3), ScriptedLink("a", takes_s=3)]
    in_turn = iter(links)
    source = ScriptedSource()
    made = Assembly(
        Settings(workers=("http://a",)),
        link_factory=lambda *_: next(in_turn),
        search=lambda *_: [source],
        rng=Random(7),
    )
    async with made.running():
        await source.show("a")
        (old,) = made.registry.workers
        asked = asyncio.create_task(score(made, DOCUMENTS))
        await asyncio.sleep(1)
        await source.show()
        await source.show("a")
        (new,) = made.registry.workers
        assert new is not old
        assert (old.calls, new.calls, new.is_usable) == (1, 0, True)
        asked_later = asyncio.create_task(score(made, DOCUMENTS))
        assert (await asked).scores == right_scores(DOCUMENTS)
        await asyncio.sleep(0)
        assert [link.is_closed for link in links] == [True, False]
        assert 'rerank_worker_calls{worker="a"} 1.0' in _series(made, "a")
        await asked_later
        assert [len(link.calls) for link in links] == [1, 1]


@on_virtual_clock
async def test_the_series_of_a_worker_begin_anew_when_it_comes_back_later():
    source = ScriptedSource()
    async with engine([ScriptedLink("a")], search=lambda *_: [source]) as made:
        for _ in range(2):
            await source.show("a")
            await score(made, DOCUMENTS)
            counted = 'rerank_attempts_total{kind="first",outcome="ok",worker="a"} 1.0'
            assert counted in _series(made, "a")
            await source.show()
            assert not _series(made, "a")


@on_virtual_clock
async def test_a_worker_that_two_sources_see_leaves_when_neither_sees_it():
    first, second = ScriptedSource("first://"), ScriptedSource("second://")
    async with engine([ScriptedLink("a"), ScriptedLink("b")], search=lambda *_: [first, second]) as made:
        await first.show("a")
        await second.show("b", waiting=["a"])
        (a, _) = made.registry.workers
        assert a.is_usable, "who is ready for one is ready"
        await first.show()
        assert a in made.registry.workers
        assert not a.is_usable
        await second.show("b")
        assert a not in made.registry.workers


@on_virtual_clock
async def test_nothing_is_left_of_a_worker_that_left():
    source = ScriptedSource()
    async with engine([ScriptedLink("a"), ScriptedLink("b")], search=lambda *_: [source]) as made:
        await source.show("b")
        tasks, left = len(asyncio.all_tasks()), list[ReferenceType[Worker]]()
        for _ in range(20):
            await source.show("a", "b")
            left += [ref(worker) for worker in made.registry.workers if worker.name == "a"]
            await source.show("b")
        assert len(asyncio.all_tasks()) == tasks
        gc.collect()
        assert len(left) == 20
        assert [worker for one in left if (worker := one())] == []


@on_virtual_clock
async def test_stopping_lets_go_of_workers_that_have_not_finished():
    hung = ScriptedLink("hung", takes_s=3600)
    source = ScriptedSource()
    async with engine([hung], search=lambda *_: [source]) as made:
        await source.show("hung")
        asked = asyncio.create_task(score(made, DOCUMENTS, within_s=20))
        await asyncio.sleep(1)
        await source.show()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
    assert hung.is_closed


class BrokenSource(ScriptedSource):
    async def watch(self) -> AsyncIterator[Endpoints]:
        yield {"http://a": True}
        raise OverflowError


@on_virtual_clock
async def test_a_source_that_breaks_leaves_the_workers_and_a_word_in_the_log():
    with capture_logs() as logged:
        async with engine([ScriptedLink("a")], search=lambda *_: [BrokenSource()], fails={"discovery"}) as made:
            assert (await score(made, DOCUMENTS)).scores == right_scores(DOCUMENTS)
    assert ("task_failed", "discovery") in [(line["event"], line.get("task")) for line in logged]


@pytest.mark.parametrize("seed", range(5))
@on_virtual_clock
async def test_no_request_fails_while_workers_come_and_go_under_load(seed: int):
    rng = Random(seed)
    names = [f"w{number}" for number in range(6)]
    source = ScriptedSource()
    links = [ScriptedLink(name, takes_s=0.2) for name in names]
    async with engine(links, seed=seed, search=lambda *_: [source], max_batch=8, min_batch=1) as made:
        await source.show(*names)
        asked = []
        for number in range(200):
            asked.append(asyncio.create_task(score(made, [f"{number} {text}" for text in DOCUMENTS[:20]])))
            await asyncio.sleep(rng.uniform(0, 0.1))
            there = rng.sample(names, rng.randint(2, 6))
            await source.show(*there[1:], waiting=there[:1])
        answers = await asyncio.gather(*asked)
    for number, answer in enumerate(answers):
        assert answer.scores == right_scores([f"{number} {text}" for text in DOCUMENTS[:20]])
