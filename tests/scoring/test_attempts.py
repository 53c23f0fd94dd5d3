"""One chunk: where its attempts go, and what is left behind."""

import asyncio
import gc
from collections import deque
from weakref import ref

import pytest

from app.errors import (
    BadAnswer,
    BadGateway,
    Busy,
    ClosedMidResponse,
    ContentRejected,
    NoWorker,
    OutOfFiles,
    Overloaded,
    Unavailable,
    Unreachable,
    WorkerError,
)
from app.types import Answer, Chunk, Pairs, RequestContext, RequestStats
from tests.virtual import ScoreCall, ScriptedLink, after, engine, now, on_virtual_clock, right_scores, score

DOCUMENTS = [f"document {number}" for number in range(8)]
FAILURES = [Unreachable("w"), ClosedMidResponse("w"), Unavailable("w"), BadAnswer("w")]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.outcome)
@on_virtual_clock
async def test_a_retry_goes_at_once_to_a_worker_not_yet_tried(failure: WorkerError):
    links = [ScriptedLink("a", always=failure), ScriptedLink("b", always=failure), ScriptedLink("good")]
    async with engine(links) as made:
        began = now()
        stats = RequestStats()
        assert (await score(made, DOCUMENTS, stats=stats)).scores == right_scores(DOCUMENTS)
        assert now() - began < 0.02
    assert all(len(link.calls) <= 1 for link in links)
    assert stats.attempts == sum(len(link.calls) for link in links)


@on_virtual_clock
async def test_attempts_that_cost_nothing_are_not_counted_as_tries():
    links = [ScriptedLink(f"w{number}", problem=None, always=Unreachable("w")) for number in range(9)]
    async with engine([*links, ScriptedLink("good")], max_attempts=1) as made:
        assert (await score(made, DOCUMENTS)).scores == right_scores(DOCUMENTS)


@on_virtual_clock
async def test_a_worker_is_not_blamed_when_the_gateway_has_no_file_for_a_connection_to_it():
    link = ScriptedLink("w", always=OutOfFiles("no file"))
    async with engine([link], probe_interval_s=1) as made:
        (worker,) = made.registry.workers
        for _ in range(5):
            with pytest.raises(NoWorker, match="no file"):
                await score(made, DOCUMENTS)
        assert len(link.calls) == 5 * 4
        link.problem = OutOfFiles("no file")
        await asyncio.sleep(60)
        assert worker.is_usable
        link.problem = link.always = None
        assert (await score(made, DOCUMENTS)).scores == right_scores(DOCUMENTS)


@on_virtual_clock
async def test_after_all_workers_were_tried_the_same_one_is_tried_after_a_pause():
    link = ScriptedLink("w", script=deque([Unavailable("w"), Unavailable("w")]))
    async with engine([link]) as made:
        began = now()
        assert (await score(made, DOCUMENTS)).scores == right_scores(DOCUMENTS)
        assert 0.01 < now() - began < 1
    assert len(link.calls) == 3


@pytest.mark.parametrize(
    ("failure", "told"), [(Busy("w is busy"), NoWorker), (ClosedMidResponse("w broke off"), BadGateway)]
)
@on_virtual_clock
async def test_when_tries_are_used_up_the_client_is_told_of_the_last(failure: WorkerError, told: type[Exception]):
    link = ScriptedLink("w", always=failure)
    async with engine([link], max_attempts=2) as made:
        with pytest.raises(told, match=failure.message):
            await score(made, DOCUMENTS[:1])
    assert len(link.calls) == 2


@on_virtual_clock
async def test_a_retry_that_would_come_too_late_is_not_paid_for():
    link = ScriptedLink("w", always=after(0.999, Unavailable("w")))
    async with engine([link], retry_reserve=1) as made:
        with pytest.raises(NoWorker):
            await score(made, DOCUMENTS[:1], within_s=1)
        counted = made.metrics.registry.get_sample_value
        assert (counted("rerank_retry_budget"), counted("rerank_retries_denied_total")) == (1, 0)
    assert len(link.calls) == 1


@on_virtual_clock
async def test_halves_are_scored_at_once_until_the_documents_at_fault_stand_alone():
    async def objecting(call: ScoreCall) -> Answer:
        await asyncio.sleep(1)
        if bad.intersection(call.pairs.documents):
            raise ContentRejected("w refused it")
        return await link.answer(call)

    bad, link = {DOCUMENTS[2], DOCUMENTS[7]}, ScriptedLink("w", takes_s=0)
    link.always = objecting
    async with engine([link], retry_reserve=100, worker_max_calls=8, document_errors="lowest") as made:
        began = now()
        scored = await score(made, DOCUMENTS)
        # 8, 4, 2 and 1 documents per call.
        assert now() - began == pytest.approx(4, abs=0.01)
    assert {DOCUMENTS[index] for index in scored.unscored} == bad
    right = zip(scored.scores, right_scores(DOCUMENTS), strict=True)
    assert all(own == other for index, (own, other) in enumerate(right) if index not in scored.unscored)


@on_virtual_clock
async def test_who_has_waited_for_a_slot_is_not_kept_until_its_deadline():
    link = ScriptedLink("w", takes_s=0.1)
    async with engine([link], worker_max_calls=1) as made:
        asked = [RememberedStats() for _ in range(3)]
        await asyncio.gather(*(score(made, [f"document {number}"], stats=one) for number, one in enumerate(asked)))
        assert asked[-1].queue_s > 0.1
        left = [ref(one) for one in asked]
        asked.clear()
        gc.collect()
        assert [one() for one in left] == [None] * 3


class RememberedStats(RequestStats):
    """Stats that a test can see the end of."""


@on_virtual_clock
async def test_a_worker_never_has_more_calls_than_its_limit():
    links = [ScriptedLink("a"), ScriptedLink("b", takes_s=0.02)]
    async with engine(links, max_batch=1, min_batch=1, worker_max_calls=3) as made:
        await asyncio.gather(
            *[score(made, [f"{request} {document}" for document in DOCUMENTS]) for request in range(9)]
        )
    assert [link.most_in_flight for link in links] == [3, 3]


@on_virtual_clock
async def test_a_slot_that_never_comes_free_is_told_as_overload():
    link = ScriptedLink("w", takes_s=10)
    async with engine([link], worker_max_calls=1) as made:
        first = asyncio.create_task(score(made, DOCUMENTS))
        await asyncio.sleep(0.1)
        with pytest.raises(Overloaded):
            await score(made, DOCUMENTS, within_s=2)
        await first


@on_virtual_clock
async def test_slots_are_granted_in_order_of_arrival():
    link = ScriptedLink("w")
    async with engine([link], worker_max_calls=1) as made:
        await asyncio.gather(*[score(made, [f"document {number}"]) for number in range(20)])
    assert [call.pairs.documents for call in link.calls] == [[f"document {number}"] for number in range(20)]


@on_virtual_clock
async def test_a_waiting_retry_holds_up_nobody_else():
    busy, good = ScriptedLink("busy", takes_s=5), ScriptedLink("good", takes_s=5)
    async with engine([busy, good], worker_max_calls=1) as made:
        busy.script.append(Unavailable("busy"))
        good.script.append(Unavailable("good"))
        asked = [asyncio.create_task(score(made, [f"document {number}"])) for number in range(4)]
        answers = await asyncio.gather(*asked)
    assert len(answers) == 4


@pytest.mark.parametrize("moment_s", [0.0, 0.005, 0.015, 0.025, 0.035])
@on_virtual_clock
async def test_cancelling_at_any_moment_leaves_no_slot_and_no_waiter_behind(moment_s: float):
    link = ScriptedLink("w")
    async with engine([link], worker_max_calls=1, max_batch=2, min_batch=1) as made:
        asked = [asyncio.create_task(score(made, [f"{n} {text}" for text in DOCUMENTS])) for n in range(2)]
        await asyncio.sleep(moment_s)
        asked[0].cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        assert asked[0].cancelled()
        assert (await score(made, DOCUMENTS)).scores == right_scores(DOCUMENTS)


@on_virtual_clock
async def test_a_slot_granted_in_the_moment_of_a_cancellation_goes_to_the_next():
    link = ScriptedLink("w", takes_s=1)
    async with engine([link], worker_max_calls=1) as made:
        first, second, third = [asyncio.create_task(score(made, [f"document {n}"])) for n in range(3)]
        await asyncio.sleep(0.5)
        # Both happen before the second request's task runs again: it is granted the first one's slot and cancelled.
        first.add_done_callback(lambda _: second.cancel())
        await asyncio.gather(first, second, third, return_exceptions=True)
        assert third.result().scores == right_scores(["document 2"])


@on_virtual_clock
async def test_who_leaves_in_the_moment_of_its_slot_leaves_nothing_behind():
    link = ScriptedLink("w")
    async with engine([link], worker_max_calls=1) as made:
        await score(made, DOCUMENTS)
        pairs, context = Pairs(["q"], ["d"]), RequestContext(key="k", request_id="r", deadline=1e9)
        (fingerprint,) = made.registry.workers[0].serves.values()
        chunk = Chunk(pairs=pairs, fingerprint=fingerprint, fields={}, pair_tokens=(1,), context=context, tokens=1)
        with await made.scheduler.slot(chunk, avoid=set()):
            leaves = asyncio.create_task(made.scheduler.slot(chunk, avoid=set()))
            await asyncio.sleep(0.1)
        leaves.cancel()
        await asyncio.wait([leaves])
        assert leaves.cancelled()


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
