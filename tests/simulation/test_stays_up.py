"""Hung, slow, sick and overloaded workers, and neighbours that take too much: on a virtual clock."""

import asyncio
from collections import deque
from time import perf_counter
from typing import Any

import pytest

from app.errors import (
    BadAnswer,
    BadGateway,
    BadInput,
    Busy,
    ClosedBeforeResponse,
    ClosedMidResponse,
    ContentRejected,
    DeadlineExceeded,
    Misconfigured,
    NoWorker,
    Overloaded,
    Unavailable,
    UnknownModel,
    Unreachable,
)
from app.policy.breaker import State
from app.types import Answer
from tests.virtual import ScoreCall, Script, ScriptedLink, after, engine, on_virtual_clock, right_scores, score

DOCUMENTS = [f"document {number}" for number in range(64)]


def _now() -> float:
    return asyncio.get_running_loop().time()


def _one_after_the_other(link: ScriptedLink) -> Script:
    """How a worker goes on that scores one call at a time."""
    turn = asyncio.Lock()

    async def step(call: ScoreCall) -> Answer:
        async with turn:
            return await link.answer(call)

    return step


async def _elapsed(work) -> float:
    began = _now()
    await work
    return _now() - began


@on_virtual_clock
async def test_a_hung_worker_is_left_for_one_that_works_and_then_not_called_again():
    hung, good = ScriptedLink("hung"), ScriptedLink("good")
    async with engine([hung, good]) as made:
        for _ in range(60):
            await score(made, DOCUMENTS)
        hung.hangs = True
        times = [await _elapsed(score(made, DOCUMENTS)) for _ in range(20)]
        assert max(times) < 1.2
        assert sum(seconds > 0.1 for seconds in times) <= 3
        assert made.registry.workers[0].breaker.state is not State.CLOSED


@on_virtual_clock
async def test_a_worker_that_hangs_from_the_start_leaves_half_of_the_time_for_another():
    hung, good = ScriptedLink("hung", always=after(3600)), ScriptedLink("good")
    async with engine([hung, good]) as made:
        assert await _elapsed(score(made, DOCUMENTS, within_s=20)) < 10.1


@on_virtual_clock
async def test_a_call_is_not_given_up_when_no_time_is_left_for_another():
    """Two workers that are well, and take 6 s for a call, would else begin a queued one four times and end none."""
    links = [ScriptedLink(name, takes_s=6.1) for name in "ab"]
    async with engine(links) as made:
        for within_s in (25, 8):
            await asyncio.gather(*(score(made, [f"document {number}"], within_s=within_s) for number in range(2)))
    assert [len(link.calls) for link in links] == [2, 2]


@on_virtual_clock
async def test_who_was_waited_for_in_vain_leaves_the_next_all_the_time_there_is():
    """Half of what is left, and half of that, and so on, would be too short for every one of them."""
    links = [ScriptedLink(name, takes_s=7) for name in "abc"]
    async with engine(links) as made:
        hung = asyncio.Event()

        async def hang_once(call: ScoreCall) -> Answer:
            if not hung.is_set():
                hung.set()
                await asyncio.sleep(3600)
            return await links[0].answer(call)

        for link in links:
            link.always = hang_once
        assert (await score(made, DOCUMENTS[:1], within_s=20)).scores == right_scores(DOCUMENTS[:1])
    assert sum(len(link.calls) for link in links) == 2


@on_virtual_clock
async def test_clients_in_a_hurry_take_no_worker_out():
    links = [ScriptedLink("a", takes_s=0.5), ScriptedLink("b", takes_s=0.5)]
    async with engine(links) as made:
        for _ in range(10):
            with pytest.raises(DeadlineExceeded):
                await score(made, DOCUMENTS, within_s=0.1)
        assert all(worker.is_usable for worker in made.registry.workers)


@on_virtual_clock
async def test_right_after_a_burst_a_hung_worker_is_left_as_soon_as_before_it():
    links = [ScriptedLink(name, per_document_s=0.01) for name in ("a", "b")]
    for link in links:
        link.always = _one_after_the_other(link)
    async with engine(links, max_batch=16, worker_min_documents=512) as made:
        for _ in range(60):
            await score(made, DOCUMENTS[:16])
        await asyncio.gather(*[score(made, DOCUMENTS[:16]) for _ in range(100)])
        links[0].hangs = True
        times = [await _elapsed(score(made, DOCUMENTS[:16])) for _ in range(6)]
    assert max(times) < 2


@on_virtual_clock
async def test_a_hung_worker_that_wakes_up_serves_within_a_few_seconds():
    link = ScriptedLink("w", problem=None)
    other = ScriptedLink("other", problem=Unreachable("other is down"))
    async with engine([link, other]) as made:
        made.prober.mark_failing(made.registry.workers[0], Unreachable("w"))
        link.hangs = True
        await asyncio.sleep(10)
        assert not made.registry.workers[0].is_usable
        link.hangs = False
        await asyncio.sleep(8)
        assert made.registry.workers[0].is_usable


@on_virtual_clock
async def test_an_idle_worker_that_hangs_is_found_before_a_client_meets_it():
    link = ScriptedLink("w")
    async with engine([link, ScriptedLink("good")], probe_interval_s=10, probe_timeout_s=5) as made:
        link.hangs = True
        await asyncio.sleep(20)
        assert not made.registry.workers[0].is_usable
        assert await _elapsed(score(made, DOCUMENTS)) < 0.1


@on_virtual_clock
async def test_a_busy_worker_is_not_condemned_by_its_queue():
    link = ScriptedLink("w", takes_s=20)
    async with engine([link], probe_interval_s=1, probe_timeout_s=0.5) as made:
        asked = asyncio.create_task(score(made, DOCUMENTS))
        await asyncio.sleep(0.5)
        link.hangs_probes = True
        await asyncio.sleep(15)
        assert made.registry.workers[0].is_usable
        await asked


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
        made.registry.workers[0].breaker.probe_at = _now() + 3.5
        with pytest.raises(NoWorker) as raised:
            await score(made, DOCUMENTS)
        assert raised.value.retry_after_s == pytest.approx(3.5)
        link.problem = None
        await asyncio.sleep(3.5 * 1.2)
        await score(made, DOCUMENTS)


@on_virtual_clock
async def test_one_connection_that_died_while_idle_takes_no_worker_out():
    link = ScriptedLink("w", script=deque([ClosedBeforeResponse("w")]))
    async with engine([link]) as made:
        assert await _elapsed(score(made, DOCUMENTS)) < 0.3
        assert made.registry.workers[0].is_usable


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
async def test_new_weights_under_an_old_name_are_a_new_fingerprint():
    links = [ScriptedLink("a"), ScriptedLink("b")]
    async with engine(links, probe_interval_s=5) as made:
        before = [worker.serves["m"] for worker in made.registry.workers]
        assert before[0] == before[1]
        links[1].drift = 0.01
        await asyncio.sleep(15)
        assert made.registry.workers[1].serves["m"] == before[1]
        links[1].drift = 0.2
        await asyncio.sleep(15)
        assert made.registry.workers[0].serves["m"] == before[0]
        assert made.registry.workers[1].serves["m"] != before[1]


@on_virtual_clock
async def test_when_everything_fails_retries_stay_within_the_budget():
    links = [ScriptedLink(f"w{number}", always=Busy("busy")) for number in range(3)]
    async with engine(links, retry_reserve=10, retry_ratio=0.1, max_attempts=4) as made:
        answers = await asyncio.gather(*[score(made, [f"{n}"]) for n in range(100)], return_exceptions=True)
    assert all(isinstance(answer, NoWorker) for answer in answers)
    assert sum(len(link.calls) for link in links) <= 140


@on_virtual_clock
async def test_retry_after_rests_only_the_worker_that_sent_it():
    tired, good = ScriptedLink("tired", script=deque([Busy("tired", retry_after_s=7)])), ScriptedLink("good")
    async with engine([tired, good]) as made:
        while not tired.calls:
            await score(made, DOCUMENTS)
        met = _now()
        while _now() < met + 6.9:
            await score(made, DOCUMENTS)
        assert len(tired.calls) == 1
        await asyncio.sleep(0.2)
        for _ in range(30):
            await score(made, DOCUMENTS)
        assert len(tired.calls) > 1


@on_virtual_clock
async def test_when_all_rest_requests_wait_for_the_first_that_is_back():
    link = ScriptedLink("w", script=deque([Busy("w", retry_after_s=3)]))
    async with engine([link]) as made:
        assert 3 <= await _elapsed(score(made, DOCUMENTS)) < 3.5


@on_virtual_clock
async def test_a_rest_lasts_no_longer_than_30_s_however_long_a_worker_asks_for():
    link = ScriptedLink("w", script=deque([Busy("w", retry_after_s=1e300)]))
    async with engine([link], max_queue_wait_s=100, probe_interval_s=1000) as made:
        assert 30 <= await _elapsed(score(made, DOCUMENTS, within_s=40)) < 31


@on_virtual_clock
async def test_a_good_probe_ends_a_rest_and_who_waits_is_served():
    link = ScriptedLink("w")
    async with engine([link], max_queue_wait_s=100, probe_interval_s=10) as made:
        link.problem = Busy("w", retry_after_s=3600)
        asked = asyncio.create_task(score(made, DOCUMENTS, within_s=60))
        await asyncio.sleep(20)
        assert not asked.done()
        link.problem = None
        assert await _elapsed(asked) <= 12 + 1


@on_virtual_clock
async def test_a_worker_that_tells_probes_that_it_is_busy_rests_and_stays_in_use():
    link = ScriptedLink("w")
    async with engine([link], probe_interval_s=10) as made:
        (worker,) = made.registry.workers
        link.problem = Busy("w", retry_after_s=7)
        for _ in range(100):
            await asyncio.sleep(1)
            assert worker.is_usable
        assert worker.backs_off_until > _now() - 12
        link.problem = None
        await asyncio.sleep(12)
        assert (await score(made, DOCUMENTS)).scores == right_scores(DOCUMENTS)


@on_virtual_clock
async def test_a_worker_in_doubt_that_says_it_is_busy_is_still_in_doubt():
    link = ScriptedLink("w")
    async with engine([link]) as made:
        link.problem = Busy("w")
        made.prober.mark_failing(made.registry.workers[0], Unreachable("w"))
        for _ in range(20):
            await asyncio.sleep(1)
            assert not made.registry.workers[0].is_usable


@on_virtual_clock
async def test_a_chunk_too_big_for_a_workers_queue_is_halved_until_it_fits():
    link = ScriptedLink("w")

    async def up_to_16(call: ScoreCall) -> Answer:
        if len(call.pairs) > 16:
            raise Busy("the engine is currently busy")
        return await link.answer(call)

    link.always = up_to_16
    async with engine([link]) as made:
        assert (await score(made, DOCUMENTS)).scores == right_scores(DOCUMENTS)
        refused = len([call for call in link.calls if len(call.pairs) > 16])
        assert (await score(made, DOCUMENTS)).scores == right_scores(DOCUMENTS)
        assert len([call for call in link.calls if len(call.pairs) > 16]) == refused <= 3


@on_virtual_clock
async def test_a_hedge_saves_a_request_from_one_slow_answer_and_the_loser_is_cancelled():
    links = [ScriptedLink("a"), ScriptedLink("b")]
    async with engine(links, hedge=True) as made:
        for _ in range(60):
            await score(made, DOCUMENTS)
        links[0].always = after(9)
        while not links[0].cancelled:
            assert await _elapsed(score(made, DOCUMENTS[:31])) < 0.1


@on_virtual_clock
async def test_hedges_add_at_most_their_share_of_calls():
    links = [ScriptedLink("a"), ScriptedLink("b"), ScriptedLink("c")]
    async with engine(links, hedge=True) as made:
        for _ in range(60):
            await score(made, ["x"])
        before = sum(len(link.calls) for link in links)
        for link in links:
            link.takes_s = 0.1
        for _ in range(200):
            await score(made, ["x"])
        added = sum(len(link.calls) for link in links) - before - 200
    assert added <= 200 * 0.05 + 5


@on_virtual_clock
async def test_without_hedging_nothing_is_sent_twice():
    links = [ScriptedLink("a"), ScriptedLink("b", takes_s=2)]
    async with engine(links) as made:
        for _ in range(60):
            await score(made, ["x"])
    assert sum(len(link.calls) for link in links) == 60


@on_virtual_clock
async def test_a_slow_worker_gets_less_work():
    slow, *fast = links = [ScriptedLink(f"w{n}", takes_s=0.1 if n == 0 else 0.01) for n in range(4)]
    async with engine(links) as made:

        async def client() -> None:
            for _ in range(50):
                await score(made, DOCUMENTS[:16])

        await asyncio.gather(*[client() for _ in range(6)])
    assert len(slow.calls) < 0.15 * sum(len(link.calls) for link in links)
    assert fast


@on_virtual_clock
async def test_a_slow_worker_stays_idle_when_waiting_for_a_busy_one_is_sooner():
    slow, *good = links = [ScriptedLink(f"w{n}", takes_s=0.2 if n == 0 else 0.01) for n in range(2)]
    async with engine(links, worker_max_calls=1) as made:
        for _ in range(40):
            await score(made, DOCUMENTS)
        calls = len(slow.calls)
        times = await asyncio.gather(*[_elapsed(score(made, DOCUMENTS)) for _ in range(3)])
        assert len(slow.calls) == calls
        assert max(times) == pytest.approx(0.03)
        # With that many before it, even the slow one is soon enough.
        times = await asyncio.gather(*[_elapsed(score(made, DOCUMENTS)) for _ in range(60)])
        assert len(slow.calls) > calls
        assert max(times) < 0.6
    assert good


@on_virtual_clock
async def test_a_list_is_not_cut_for_a_worker_that_is_too_slow_to_help():
    links = [ScriptedLink(f"w{number}", takes_s=0.1 if number == 0 else 0.01) for number in range(4)]
    documents = [f"document {number}" for number in range(3 * 64)]
    pieces = []
    async with engine(links) as made:
        for _ in range(60):
            before = sum(len(link.calls) for link in links)
            await score(made, documents)
            pieces.append(sum(len(link.calls) for link in links) - before)
    assert (pieces[0], pieces[-1]) == (4, 3)


@on_virtual_clock
async def test_a_worker_that_got_small_calls_is_not_taken_for_a_slow_one():
    links = [ScriptedLink(f"w{number}", takes_s=0.01, per_document_s=0.0001) for number in range(5)]
    async with engine(links) as made:
        for number in range(300):
            await score(made, [f"{number} {text}" for text in DOCUMENTS[: 1 if number % 2 else 60]])
    calls = [len(link.calls) for link in links]
    assert min(calls) > 0.5 * max(calls)


@on_virtual_clock
async def test_what_cannot_be_done_in_time_is_refused_at_once_and_truthfully():
    link = ScriptedLink("w", takes_s=0, per_document_s=0.01)
    async with engine([link], max_batch=16, max_queue_wait_s=2, worker_max_calls=1) as made:
        big = [asyncio.create_task(score(made, [f"{n}-{d}" for d in range(100)])) for n in range(4)]
        await asyncio.sleep(1.5)
        began = _now()
        with pytest.raises(Overloaded) as raised:
            await score(made, [f"late {d}" for d in range(100)])
        assert _now() == began
        await asyncio.sleep(raised.value.retry_after_s or 0)
        await score(made, [f"late {d}" for d in range(100)])
        await asyncio.gather(*big)


@on_virtual_clock
async def test_sustained_overload_leaves_those_let_in_a_short_wait():
    link = ScriptedLink("w", takes_s=0, per_document_s=0.001)
    async with engine([link], max_batch=16, worker_max_calls=1, max_queue_wait_s=2) as made:
        took: list[float] = []
        shed: list[float] = []

        async def ask(number: int) -> None:
            began = _now()
            try:
                await score(made, [f"{number}-{d}" for d in range(30)])
                took.append(_now() - began)
            except Overloaded:
                shed.append(_now())

        asked = []
        for number in range(2000):
            asked.append(asyncio.create_task(ask(number)))
            await asyncio.sleep(0.01)
        await asyncio.gather(*asked)
        assert len(took) * 30 > 0.9 * 1000 * 20
        assert max(took[len(took) // 2 :]) < 0.5
        assert len(shed) > 1000
        await asyncio.sleep(1)
        assert await _elapsed(score(made, DOCUMENTS[:16])) < 0.05


@on_virtual_clock
async def test_pending_documents_are_bounded_in_all_and_per_key():
    link = ScriptedLink("w", takes_s=1)
    limits: dict[str, Any] = {
        "max_pending_documents": 200,
        "key_max_pending_documents": {"small": 70},
        "max_queue_wait_s": 100,
    }
    async with engine([link], **limits) as made:
        asked = [asyncio.create_task(score(made, DOCUMENTS, key=key)) for key in ("small", "big")]
        await asyncio.sleep(0.1)
        with pytest.raises(Overloaded, match="key small has 64 documents pending"):
            await score(made, DOCUMENTS, key="small")
        asked.append(asyncio.create_task(score(made, DOCUMENTS, key="big")))
        await asyncio.sleep(0.1)
        with pytest.raises(Overloaded, match="192 documents are pending"):
            await score(made, DOCUMENTS, key="big")
        await asyncio.gather(*asked)


@on_virtual_clock
async def test_a_small_request_waits_for_a_chunk_or_two_not_for_the_big_ones_before_it():
    link = ScriptedLink("w", takes_s=0.01, per_document_s=0.001)
    async with engine([link], max_batch=32) as made:
        big = [asyncio.create_task(score(made, [f"{n}-{d}" for d in range(1000)])) for n in range(3)]
        await asyncio.sleep(0.5)
        assert await _elapsed(score(made, DOCUMENTS[:10])) < 6 * 0.042
        await asyncio.gather(*big)


@on_virtual_clock
async def test_a_greedy_key_does_not_starve_a_modest_one():
    link = ScriptedLink("w", per_document_s=0.001)
    async with engine([link], max_batch=16, max_queue_wait_s=1000) as made:
        greedy = [asyncio.create_task(score(made, [f"{n}-{d}" for d in range(160)], key="greedy")) for n in range(20)]
        await asyncio.sleep(0.2)
        assert await _elapsed(score(made, [f"m{d}" for d in range(160)], key="modest")) < 1.5
        await asyncio.gather(*greedy)


def _poisoned_by(
    link: ScriptedLink, bad: set[str], error: type[ContentRejected] | type[BadAnswer] = ContentRejected
) -> None:
    async def step(call: ScoreCall) -> Answer:
        if bad & set(call.pairs.documents):
            raise error("the prompt is too long")
        return await link.answer(call)

    link.always = step


@on_virtual_clock
async def test_a_poisoned_document_is_named_and_the_others_were_not_at_fault():
    links = [ScriptedLink("a"), ScriptedLink("b")]
    for link in links:
        _poisoned_by(link, {"document 7", "document 40"})
    async with engine(links) as made:
        with pytest.raises(BadInput, match=r"documents\[7\], documents\[40\]: the prompt is too long") as raised:
            await score(made, DOCUMENTS)
        assert raised.value.param == "documents[7]"
        assert all(worker.is_usable for worker in made.registry.workers)


@on_virtual_clock
async def test_a_poisoned_document_may_get_the_lowest_score_instead():
    link = ScriptedLink("w")
    _poisoned_by(link, {"document 7"})
    async with engine([link], document_errors="lowest") as made:
        scored = await score(made, [*DOCUMENTS, "document 7"])
    right = right_scores([*DOCUMENTS, "document 7"])
    lowest = min(value for index, value in enumerate(right) if index not in {7, 64})
    assert scored.scores == [lowest if index in {7, 64} else value for index, value in enumerate(right)]
    assert set(scored.unscored) == {7, 64}


@on_virtual_clock
async def test_a_document_that_workers_cannot_score_is_no_fault_of_the_client():
    links = [ScriptedLink("a"), ScriptedLink("b")]
    for link in links:
        _poisoned_by(link, {"document 3"}, BadAnswer)
    async with engine(links) as made:
        with pytest.raises(BadGateway, match=r"documents\[3\]"):
            await score(made, DOCUMENTS)
        assert all(worker.is_usable for worker in made.registry.workers)


@on_virtual_clock
async def test_a_list_that_is_all_poison_costs_no_more_than_the_budget():
    link = ScriptedLink("w", always=ContentRejected("no"))
    async with engine([link], document_errors="lowest", retry_reserve=10) as made:
        with pytest.raises(BadInput):
            await score(made, DOCUMENTS)
    assert len(link.calls) <= 40


@on_virtual_clock
async def test_one_keys_refused_documents_leave_another_key_its_retries():
    links = [ScriptedLink(name) for name in "ab"]
    for link in links:
        _poisoned_by(link, set(DOCUMENTS))
    async with engine(links, retry_reserve=4, retry_ratio=0.0) as made:
        for _ in range(5):
            with pytest.raises(BadInput):
                await score(made, DOCUMENTS, key="poisoner")
        links[0].always, links[1].always = ClosedMidResponse("a broke off"), None
        for number in range(10):
            await score(made, [f"good {number}"], key="other")


@pytest.mark.parametrize("within_s", [0.05, 0.5, 2])
@on_virtual_clock
async def test_a_pause_that_would_end_after_the_deadline_is_not_begun(within_s: float):
    """Of a worker that fails at once, the last failure is told at once."""
    async with engine([ScriptedLink("w", always=Unavailable("w answered 500"))], max_attempts=100) as made:
        for _ in range(20):
            began = _now()
            with pytest.raises((BadGateway, NoWorker)):
                await score(made, DOCUMENTS[:1], within_s=within_s)
            assert _now() - began <= within_s + 0.001


@on_virtual_clock
async def test_what_the_fallback_scores_is_pending_like_everything_else():
    link = ScriptedLink("w", problem=Unreachable("w"))
    async with engine([link], fallback="lexical", no_worker_wait_s=0, max_pending_documents=100) as made:
        await score(made, ["a"])
        async with asyncio.TaskGroup() as group:
            group.create_task(score(made, ["word " * 100_000 for _ in range(100)]))
            await asyncio.sleep(0)
            assert made.admission.pending_documents == 100
            with pytest.raises(Overloaded):
                await score(made, ["a"])


async def test_the_fallback_ends_with_the_deadline():
    link = ScriptedLink("w", problem=Unreachable("w"))
    async with engine([link], fallback="lexical", no_worker_wait_s=0) as made:
        began = perf_counter()
        with pytest.raises(DeadlineExceeded, match="lexically"):
            await score(made, ["word " * 100_000 for _ in range(1000)], within_s=0.3)
        assert perf_counter() - began < 3


@on_virtual_clock
async def test_without_workers_the_fallback_scores_whole_lists_and_says_so():
    link = ScriptedLink("w", problem=Unreachable("w"))
    async with engine([link], fallback="lexical", no_worker_wait_s=1, fallback_hold_s=10) as made:
        first = await score(made, ["a q", "b"], query="q", model="m")
        assert first.degraded == "lexical"
        assert first.scores[0] > first.scores[1]
        link.problem = None
        await asyncio.sleep(5)
        assert await _elapsed(score(made, ["a"], model="m")) < 0.01
        assert (await score(made, ["a"], model="m")).degraded
        await asyncio.sleep(10)
        assert not (await score(made, ["a"], model="m")).degraded


@on_virtual_clock
async def test_a_name_that_no_model_has_is_unknown_again_when_workers_are_back():
    link = ScriptedLink("w", problem=Unreachable("w is down"))
    async with engine([link], fallback="lexical", no_worker_wait_s=0) as made:
        assert (await score(made, DOCUMENTS, model="other")).degraded == "lexical"
        for number in range(2000):
            await score(made, ["d"], model=f"made up {number}")
        assert len(made.gateway._fallback._until) <= 1001
        link.problem = None
        await asyncio.sleep(20)
        with pytest.raises(UnknownModel, match="there is m"):
            await score(made, DOCUMENTS, model="made up 1999")


@on_virtual_clock
async def test_a_client_may_refuse_degraded_scores():
    link = ScriptedLink("w", problem=Unreachable("w"))
    async with engine([link], fallback="lexical", no_worker_wait_s=1) as made:
        with pytest.raises(NoWorker):
            await score(made, ["a"], takes_degraded=False)


@on_virtual_clock
async def test_time_that_runs_out_is_no_reason_for_the_fallback():
    link = ScriptedLink("w", takes_s=60)
    async with engine([link], fallback="lexical") as made:
        with pytest.raises(DeadlineExceeded):
            await score(made, ["a"], within_s=2)


@pytest.mark.parametrize("moment_s", [0.001, 0.02, 0.5, 1.5])
@on_virtual_clock
async def test_a_client_that_leaves_takes_its_work_with_it(moment_s: float):
    links = [ScriptedLink("a", takes_s=1), ScriptedLink("b", takes_s=1)]
    async with engine(links, hedge=True, max_batch=8, min_batch=1) as made:
        asked = asyncio.create_task(score(made, [f"d{n}" for n in range(500)]))
        await asyncio.sleep(moment_s)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert [link.in_flight for link in links] == [0, 0]


@on_virtual_clock
async def test_a_retry_that_waits_for_a_resting_worker_gets_it_when_the_rest_is_over():
    tired, sick = ScriptedLink("tired", script=deque([Busy("tired", retry_after_s=3)])), ScriptedLink("sick")
    async with engine([tired, sick]) as made:
        while not tired.calls:
            await score(made, DOCUMENTS[:1])
        sick.always = Unavailable("sick")
        assert await _elapsed(score(made, DOCUMENTS[:1])) < 3.1


@on_virtual_clock
async def test_a_retry_does_not_wait_for_a_worker_that_rests_for_long():
    tired, good = ScriptedLink("tired", script=deque([Busy("tired", retry_after_s=60)])), ScriptedLink("good")
    async with engine([tired, good]) as made:
        while not tired.calls:
            await score(made, DOCUMENTS[:1])
        good.script.append(Unavailable("good"))
        assert await _elapsed(score(made, DOCUMENTS[:1])) < 0.3


@on_virtual_clock
async def test_a_retry_that_waits_for_one_worker_does_not_make_the_others_look_saturated():
    tired, good = ScriptedLink("tired", script=deque([Busy("tired", retry_after_s=3)])), ScriptedLink("good")
    async with engine([tired, good]) as made:
        while not tired.calls:
            await score(made, DOCUMENTS[:1])
        await asyncio.sleep(1.5)
        good.script.append(Unavailable("good"))
        waiting = asyncio.create_task(score(made, DOCUMENTS[:1]))
        for _ in range(12):
            await asyncio.sleep(0.1)
            await score(made, DOCUMENTS[:1])
        assert not waiting.done()
        assert made.scheduler.outlook("k", 1, made.registry.models()["m"]).per_s is None
        await waiting


@on_virtual_clock
async def test_a_worker_that_keeps_answering_is_busy_not_hung():
    links = [ScriptedLink("a"), ScriptedLink("b")]
    async with engine(links) as made:
        for _ in range(60):
            await score(made, DOCUMENTS[:1])
        for link in links:
            link.always = _one_after_another(link, takes_s=0.3)
        before = sum(len(link.calls) for link in links)
        await asyncio.gather(*[score(made, [f"document {number}"]) for number in range(20)])
        assert sum(len(link.calls) for link in links) == before + 20


@on_virtual_clock
async def test_a_pause_of_the_gateway_itself_is_not_taken_for_a_hung_worker():
    links = [ScriptedLink("a"), ScriptedLink("b")]
    async with engine(links) as made:
        for _ in range(60):
            await score(made, DOCUMENTS[:1])
        before = sum(len(link.calls) for link in links)
        asked = asyncio.create_task(score(made, DOCUMENTS[:1]))
        await asyncio.sleep(0)
        asyncio.get_running_loop().now += 3  # type: ignore[attr-defined]  # the loop of these tests
        await asked
        assert sum(len(link.calls) for link in links) == before + 1


def _one_after_another(link: ScriptedLink, *, takes_s: float) -> Script:
    engine = asyncio.Lock()

    async def step(call: ScoreCall) -> Answer:
        async with engine:
            await asyncio.sleep(takes_s)
        return await link.answer(call)

    return step


@on_virtual_clock
async def test_time_without_any_worker_is_not_taken_for_slowness():
    link = ScriptedLink("w", takes_s=0, per_document_s=0.01)
    async with engine([link], max_batch=16, worker_max_calls=1) as made:
        asked = [asyncio.create_task(score(made, [f"{n}-{d}" for d in range(100)])) for n in range(4)]
        await asyncio.sleep(2)
        made.prober.mark_failing(made.registry.workers[0], Unreachable("w"))
        link.problem = Unreachable("w")
        await asyncio.sleep(4)
        link.problem = None
        await asyncio.gather(*asked)
        assert made.scheduler.outlook("k", 1, made.registry.models()["m"]).per_s == pytest.approx(100, rel=0.1)
