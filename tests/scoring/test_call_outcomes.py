"""What calls teach about a worker: when it is taken out of use, and when not; on a virtual clock."""

import asyncio
from collections import deque

import pytest

from app.errors import (
    BadAnswer,
    Busy,
    ClosedBeforeResponse,
    ClosedMidResponse,
    DeadlineExceeded,
    Misconfigured,
    NoWorker,
    Unavailable,
    Unreachable,
    WorkerError,
)
from app.types import Answer
from tests.virtual import ScoreCall, ScriptedLink, elapsed, engine, now, on_virtual_clock, right_scores, score

DOCUMENTS = [f"document {number}" for number in range(64)]


@on_virtual_clock
async def test_clients_with_short_deadlines_take_no_worker_out():
    links = [ScriptedLink("a", takes_s=0.5), ScriptedLink("b", takes_s=0.5)]
    async with engine(links) as made:
        for _ in range(10):
            with pytest.raises(DeadlineExceeded):
                await score(made, DOCUMENTS, within_s=0.1)
        assert all(worker.is_usable for worker in made.registry.workers)


@on_virtual_clock
async def test_a_sick_worker_is_called_three_times_and_then_left_alone():
    sick, good = ScriptedLink("sick", always=Unavailable("sick")), ScriptedLink("good")
    async with engine([sick, good]) as made:
        for _ in range(50):
            assert (await score(made, DOCUMENTS)).scores == right_scores(DOCUMENTS)
        assert len(sick.calls) == 3


@on_virtual_clock
async def test_a_worker_that_lies_is_found_out_by_another_that_does_not():
    lie = BadAnswer("liar returned 1 scores for 2 documents")
    liar, good = ScriptedLink("liar", always=lie), ScriptedLink("good")
    async with engine([liar, good]) as made:
        for _ in range(50):
            assert (await score(made, DOCUMENTS)).scores == right_scores(DOCUMENTS)
        assert len(liar.calls) <= 4


@on_virtual_clock
async def test_with_all_breakers_open_the_client_is_told_when_to_come_back():
    link = ScriptedLink("w")
    async with engine([link], no_worker_wait_s=0) as made:
        link.problem = Unreachable("w refused the connection")
        with pytest.raises(NoWorker, match="w refused") as raised:
            await score(made, DOCUMENTS)
        assert raised.value.retry_after_s is not None
        assert raised.value.retry_after_s == pytest.approx(1)
        made.registry.workers[0].breaker.probe_at = now() + 3.5
        with pytest.raises(NoWorker) as raised:
            await score(made, DOCUMENTS)
        assert raised.value.retry_after_s == pytest.approx(3.5)
        link.problem = None
        await asyncio.sleep(3.5 * 1.2)
        await score(made, DOCUMENTS)


@on_virtual_clock
async def test_a_connection_that_died_under_a_call_costs_a_worker_no_pause():
    link = ScriptedLink("w", script=deque([ClosedBeforeResponse("w")]))
    async with engine([link]) as made:
        assert await elapsed(score(made, DOCUMENTS)) < 0.3
        assert made.registry.workers[0].is_usable


@pytest.mark.parametrize("death", [ClosedBeforeResponse("w"), ClosedMidResponse("w")], ids=lambda death: death.outcome)
@on_virtual_clock
async def test_a_worker_whose_connection_died_under_a_call_shows_what_it_is_before_it_scores_again(death: WorkerError):
    link = ScriptedLink("w")

    async def be_replaced(_: ScoreCall) -> Answer:
        link.shift = 0.4
        raise death

    async with engine([link], max_batch=32) as made:
        link.script.extend([link.answer, be_replaced])
        await score(made, DOCUMENTS)
    assert sorted(text for call in link.calls[2:] for text in call.texts) == sorted(DOCUMENTS), "all anew"


@on_virtual_clock
async def test_a_worker_whose_connections_die_under_every_call_is_left_alone_although_its_probes_succeed():
    link = ScriptedLink("w", always=ClosedBeforeResponse("w"))
    async with engine([link], max_attempts=3, no_worker_wait_s=0) as made:
        with pytest.raises(NoWorker):
            await score(made, DOCUMENTS[:1])
        assert len(link.calls) == 3
        assert not made.registry.workers[0].is_usable


@on_virtual_clock
async def test_a_misconfigured_worker_says_so_and_others_serve():
    bad = ScriptedLink("bad", always=Misconfigured("bad answered 401; check RERANK_WORKER_API_KEY"))
    async with engine([bad, ScriptedLink("good")]) as made:
        for _ in range(10):
            await score(made, DOCUMENTS)
        assert len(bad.calls) <= 2
        worker = made.registry.workers[0]
        assert worker.problem is None or "RERANK_WORKER_API_KEY" in worker.problem.message


@on_virtual_clock
async def test_retry_after_has_only_the_worker_that_sent_it_back_off():
    tired, good = ScriptedLink("tired", script=deque([Busy("tired", retry_after_s=7)])), ScriptedLink("good")
    async with engine([tired, good]) as made:
        while not tired.calls:
            await score(made, DOCUMENTS)
        met = now()
        while now() < met + 6.9:
            await score(made, DOCUMENTS)
        assert len(tired.calls) == 1
        await asyncio.sleep(0.2)
        for _ in range(30):
            await score(made, DOCUMENTS)
        assert len(tired.calls) > 1


@on_virtual_clock
async def test_when_all_back_off_requests_wait_for_the_first_that_is_back():
    link = ScriptedLink("w", script=deque([Busy("w", retry_after_s=3)]))
    async with engine([link]) as made:
        assert 3 <= await elapsed(score(made, DOCUMENTS)) < 3.5


@on_virtual_clock
async def test_a_back_off_lasts_no_longer_than_30_s_however_long_a_worker_asks_for():
    link = ScriptedLink("w", script=deque([Busy("w", retry_after_s=1e300)]))
    async with engine([link], max_queue_wait_s=100, probe_interval_s=1000) as made:
        assert 30 <= await elapsed(score(made, DOCUMENTS, within_s=40)) < 31


@on_virtual_clock
async def test_a_worker_that_got_small_calls_is_not_taken_for_a_slow_one():
    links = [ScriptedLink(f"w{number}", takes_s=0.01, per_document_s=0.0001) for number in range(5)]
    async with engine(links) as made:
        for number in range(300):
            await score(made, [f"{number} {text}" for text in DOCUMENTS[: 1 if number % 2 else 60]])
    calls = [len(link.calls) for link in links]
    assert min(calls) > 0.5 * max(calls)
