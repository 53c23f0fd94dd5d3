"""How computations end: their starter leaves or fails, time runs out, or everybody leaves. Nobody loses by it."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from app.assembly import Assembly
from app.errors import BadInput, ContentRejected, DeadlineExceeded, NoWorker, Overloaded, Unavailable, Unreachable
from app.types import Answer, Scored
from tests.virtual import ScoreCall, ScriptedLink, after, engine, now, on_virtual_clock, right_scores
from tests.virtual import score as ask

DOCUMENTS = [f"document {number}" for number in range(12)]
QUEUED: dict[str, Any] = {"max_batch": 4, "min_batch": 1, "worker_max_calls": 1}


def _start(made: Assembly, documents: Sequence[str] = DOCUMENTS, **more: Any) -> asyncio.Task[Scored]:
    return asyncio.create_task(ask(made, documents, **{"cache": "default"} | more))


async def _scores(asked: asyncio.Task[Scored]) -> list[float]:
    return list((await asked).scores)


def _times_scored(*links: ScriptedLink) -> Counter[str]:
    return Counter(text for link in links for call in link.calls for text in call.texts)


@on_virtual_clock
async def test_what_a_starter_that_left_began_goes_on_for_those_who_wait():
    link = ScriptedLink("w", takes_s=1)
    async with engine([link], **QUEUED) as made:
        leader = _start(made)
        await asyncio.sleep(0.5)
        follower = _start(made, DOCUMENTS[::-1])
        await asyncio.sleep(1)
        leader.cancel()
        assert await _scores(follower) == right_scores(DOCUMENTS[::-1])
        assert leader.cancelled()
    assert link.cancelled == 0
    assert _times_scored(link) == Counter(DOCUMENTS)


@on_virtual_clock
async def test_only_chunks_that_somebody_waits_for_go_on():
    link = ScriptedLink("w", takes_s=1)
    async with engine([link], max_batch=4, min_batch=1) as made:
        leader = _start(made)
        await asyncio.sleep(0.5)
        follower = _start(made, [link.calls[1].texts[0]])
        await asyncio.sleep(0)
        leader.cancel()
        await asyncio.sleep(0.1)
        assert (link.cancelled, link.in_flight, made.singleflight.pairs) == (2, 1, 4)
        await follower


@on_virtual_clock
async def test_a_starter_that_leaves_alone_takes_its_calls_with_it():
    links = [ScriptedLink("a", takes_s=1), ScriptedLink("b", takes_s=1)]
    async with engine(links, **QUEUED) as made:
        leader = _start(made)
        await asyncio.sleep(0.5)
        leader.cancel()
        await asyncio.gather(leader, return_exceptions=True)
        # At once: who was cancelled has ended when its work has.
        assert [link.in_flight for link in links] == [0, 0]
        assert made.singleflight.pairs == made.scheduler.waiting == made.admission.pending_documents == 0
    assert [link.cancelled for link in links] == [1, 1]


@on_virtual_clock
async def test_who_comes_while_a_cancelled_call_comes_to_its_end_does_not_wait_for_it():
    async def slow_to_end(_: ScoreCall) -> Answer:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)
        raise AssertionError("it was to be cancelled")

    link = ScriptedLink("w")
    link.script.append(slow_to_end)
    async with engine([link]) as made:
        leader = _start(made)
        await asyncio.sleep(0.5)
        leader.cancel()
        await asyncio.sleep(0)
        began = now()
        assert await _scores(_start(made)) == right_scores(DOCUMENTS)
        assert now() - began < 0.1
        assert (leader.done(), link.in_flight) == (False, 1)
        await asyncio.gather(leader, return_exceptions=True)
        assert link.in_flight == 0


@on_virtual_clock
async def test_when_all_who_wait_have_left_nothing_is_left_of_a_chunk_that_was_hurried():
    link = ScriptedLink("w", takes_s=1)
    async with engine([link], **QUEUED) as made:
        busy, leader = _start(made, ["other"]), _start(made)
        await asyncio.sleep(0.2)
        asked = [leader, *[_start(made, [document]) for document in DOCUMENTS]]
        await asyncio.sleep(0.2)
        assert made.scheduler.waiting == 3
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        assert (made.scheduler.waiting, made.singleflight.pairs, made.admission.pending_documents) == (0, 1, 1)
        await busy
        assert await _scores(_start(made)) == right_scores(DOCUMENTS)


@on_virtual_clock
async def test_when_a_computation_fails_ten_who_waited_for_it_have_each_pair_scored_once_more_only():
    link = ScriptedLink("w")
    link.script.append(after(1, Unavailable("w broke")))
    async with engine([link], max_attempts=1) as made:
        leader = _start(made)
        await asyncio.sleep(0.5)
        joiners = [_start(made, DOCUMENTS[number:] + DOCUMENTS[:number]) for number in range(10)]
        with pytest.raises(NoWorker, match="w broke"):
            await leader
        for number, follower in enumerate(joiners):
            assert await _scores(follower) == right_scores(DOCUMENTS[number:] + DOCUMENTS[:number])
    assert _times_scored(link) == Counter(DOCUMENTS * 2)


@on_virtual_clock
async def test_of_a_computation_with_a_refused_document_who_waited_takes_the_other_scores():
    async def refusing(call: ScoreCall) -> Answer:
        if "document 3" in call.pairs.documents and not is_well:
            raise ContentRejected("w refused it")
        return await link.answer(call)

    is_well, link = False, ScriptedLink("w", always=refusing)
    async with engine([link], document_errors="lowest") as made:
        asked = [_start(made), _start(made)]
        assert (await asked[0]).unscored.keys() == {3}
        link.calls.clear()
        is_well = True
        assert await _scores(asked[1]) == right_scores(DOCUMENTS)
    assert _times_scored(link) == Counter(["document 3"])


@pytest.mark.parametrize("joiners", [10, 400])
@on_virtual_clock
async def test_requests_that_wait_for_what_always_fails_do_not_fail_one_after_the_other(joiners: int):
    link = ScriptedLink("w", always=after(1, ContentRejected("w refused it")))
    async with engine([link], worker_max_calls=1024, worker_min_documents=1024) as made:
        began = now()
        asked = [_start(made, ["a"]) for _ in range(1 + joiners)]
        errors = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(error) for error in errors} == {BadInput}
        assert now() - began < 3.1


@on_virtual_clock
async def test_a_starters_short_deadline_does_not_shorten_that_of_who_waits():
    link = ScriptedLink("w", takes_s=2)
    async with engine([link]) as made:
        leader = _start(made, within_s=1)
        follower = _start(made, within_s=10)
        with pytest.raises(DeadlineExceeded, match="while w worked"):
            await leader
        assert await _scores(follower) == right_scores(DOCUMENTS)
        assert now() < 1000 + 1 + 2 + 0.1


@on_virtual_clock
async def test_a_starters_deadline_in_the_queue_does_not_shorten_that_of_who_waits():
    link = ScriptedLink("w", takes_s=2)
    async with engine([link], **QUEUED) as made:
        busy = _start(made, ["other"])
        await asyncio.sleep(0.1)
        leader, follower = _start(made, within_s=1), _start(made, within_s=20)
        with pytest.raises(Overloaded):
            await leader
        assert await _scores(follower) == right_scores(DOCUMENTS)
        await busy


@on_virtual_clock
async def test_a_queue_that_grew_meanwhile_sheds_nobody_whose_starter_failed():
    link = ScriptedLink("w", takes_s=0.1)
    async with engine([link], **QUEUED, max_queue_wait_s=1) as made:
        others = [_start(made, [f"other {number}, {place}" for place in range(4)]) for number in range(50)]
        await asyncio.sleep(0.5)
        leader, follower = _start(made, within_s=2), _start(made, within_s=20)
        with pytest.raises(Overloaded, match="no slot came free in time"):
            await leader
        with pytest.raises(Overloaded, match="go before these 12: RERANK_MAX_QUEUE_WAIT_S"):
            await _start(made, [*DOCUMENTS[::-1]], cache="no-store")
        assert await _scores(follower) == right_scores(DOCUMENTS)
        await asyncio.gather(*others)


@on_virtual_clock
async def test_limits_of_what_may_be_pending_hold_for_who_has_its_documents_scored_anew_too():
    link = ScriptedLink("w", takes_s=2)
    async with engine([link], **QUEUED, cache_across_keys=True, max_pending_documents_per_key=12) as made:
        own = _start(made, [f"own {place}" for place in range(8)], key="beta")
        await asyncio.sleep(0.1)
        leader, follower = _start(made, within_s=1, key="alpha"), _start(made, key="beta")
        with pytest.raises(Overloaded, match="no slot came free in time"):
            await leader
        with pytest.raises(Overloaded, match="The key beta has 12 documents pending; 4 more"):
            await follower
        await own


@on_virtual_clock
async def test_the_deadline_of_who_waits_ends_its_wait_while_the_starter_goes_on():
    link = ScriptedLink("w", takes_s=2)
    async with engine([link]) as made:
        leader = _start(made)
        follower = _start(made, DOCUMENTS[:5], within_s=1)
        with pytest.raises(DeadlineExceeded, match="while another request had 5 of the documents scored"):
            await follower
        assert now() == pytest.approx(1001, abs=0.01)
        assert await _scores(leader) == right_scores(DOCUMENTS)
    assert _times_scored(link) == Counter(DOCUMENTS)


@on_virtual_clock
async def test_when_a_computations_fingerprint_goes_all_who_wait_start_again_on_another():
    old = ScriptedLink("old", version="1", takes_s=1, per_document_s=0.1)
    new = ScriptedLink("new", version="2", problem=Unreachable("new is down"))
    async with engine([old, new], **QUEUED) as made:
        asked = [_start(made), _start(made, DOCUMENTS[::-1])]
        await asyncio.sleep(0.5)
        new.problem, old.problem = None, Unreachable("old is down")
        assert await _scores(asked[0]) == right_scores(DOCUMENTS)
        assert await _scores(asked[1]) == right_scores(DOCUMENTS[::-1])
    assert _times_scored(new) == Counter(DOCUMENTS)


@pytest.mark.parametrize("slots", [1, 64])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("leaving", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
@on_virtual_clock
async def test_leaving_at_any_moment_leaves_nothing_behind(slots: int, fails: bool, leaving: Sequence[int]):  # noqa: FBT001 - pytest's
    for moment in range(40):
        link = ScriptedLink("w", takes_s=0.01)
        if fails:
            link.script.extend([after(0.01, Unavailable("w broke")), ContentRejected("w refused it")])
        async with engine([link], **QUEUED | {"worker_max_calls": slots}) as made:
            # Two wait for pairs of the first, one of them has more to score, and the third waits for pairs of that.
            wanted = [DOCUMENTS[:8], DOCUMENTS[4:], DOCUMENTS[::3]]
            asked = [_start(made, documents) for documents in wanted]
            await asyncio.sleep(moment / 800)
            for number in leaving:
                asked[number].cancel()
            await asyncio.gather(*asked, return_exceptions=True)
            for number, documents in enumerate(wanted):
                assert asked[number].cancelled() or await _scores(asked[number]) == right_scores(documents)
