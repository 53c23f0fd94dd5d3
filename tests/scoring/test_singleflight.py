"""Pairs that another request is having scored: who waits for them, when the scores come, and what admission counts."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from app.assembly import Assembly
from app.errors import Overloaded
from app.types import CacheUse, RequestStats
from tests.virtual import ScriptedLink, elapsed, engine, on_virtual_clock, right_scores
from tests.virtual import score as ask

DOCUMENTS = [f"document {number}" for number in range(40)]
# One call at a time, so that all chunks but the first wait.
QUEUED: dict[str, Any] = {"max_batch": 4, "min_batch": 1, "worker_max_calls": 1}


async def score(made: Assembly, documents: Sequence[str], **more: Any) -> list[float]:
    scored = await ask(made, documents, **{"cache": "default"} | more)
    return list(scored.scores)


def _times_scored(*links: ScriptedLink) -> Counter[str]:
    return Counter(text for link in links for call in link.calls for text in call.texts)


def _once(documents: Sequence[str]) -> Counter[str]:
    return Counter(set(documents))


@on_virtual_clock
async def test_of_two_equal_requests_at_once_each_pair_is_scored_once():
    links = [ScriptedLink("a"), ScriptedLink("b")]
    async with engine(links) as made:
        stats_of_both = [RequestStats(), RequestStats()]
        answers = await asyncio.gather(*[score(made, DOCUMENTS, stats=stats) for stats in stats_of_both])
        counted = made.metrics.registry.get_sample_value("rerank_documents_total", {"source": "coalesced"})
    assert answers == [right_scores(DOCUMENTS)] * 2
    assert _times_scored(*links) == _once(DOCUMENTS)
    assert [stats.coalesced for stats in stats_of_both] == [0, len(DOCUMENTS)]
    assert counted == len(DOCUMENTS)


@on_virtual_clock
async def test_of_overlapping_requests_each_pair_is_scored_once():
    links = [ScriptedLink("a"), ScriptedLink("b", takes_s=0.02)]
    async with engine(links, max_batch=5, min_batch=1) as made:
        wanted = [DOCUMENTS[first : first + 15] for first in range(0, 40, 3)]
        answers = await asyncio.gather(*[score(made, documents) for documents in wanted])
    assert answers == [right_scores(documents) for documents in wanted]
    assert _times_scored(*links) == _once(DOCUMENTS)


@on_virtual_clock
async def test_a_request_of_cached_flying_and_new_pairs_puts_them_together_in_their_order():
    link = ScriptedLink("w", takes_s=1)
    async with engine([link]) as made:
        await score(made, DOCUMENTS[::4])
        leader = asyncio.create_task(score(made, DOCUMENTS[1::4]))
        await asyncio.sleep(0.5)
        stats = RequestStats()
        assert await score(made, DOCUMENTS, stats=stats) == right_scores(DOCUMENTS)
        await leader
    assert (stats.cache_hits, stats.coalesced) == (10, 10)
    assert _times_scored(link) == _once(DOCUMENTS)


@pytest.mark.parametrize(
    ("first", "second", "times"),
    [
        ("default", "no-store", 2),
        ("no-store", "default", 2),
        ("default", "no-cache", 2),
        ("no-cache", "default", 1),
        ("no-cache", "no-cache", 2),
    ],
)
@on_virtual_clock
async def test_no_store_neither_waits_nor_is_waited_for_and_no_cache_only_is(
    first: CacheUse, second: CacheUse, times: int
):
    link = ScriptedLink("w")
    async with engine([link]) as made:
        await asyncio.gather(score(made, ["a"], cache=first), score(made, ["a"], cache=second))
    assert _times_scored(link) == {"a": times}


@on_virtual_clock
async def test_of_two_computations_of_a_pair_the_one_that_began_first_is_waited_for():
    link = ScriptedLink("w", takes_s=1)
    async with engine([link]) as made:
        others = [asyncio.create_task(score(made, ["a"]))]
        await asyncio.sleep(0.5)
        others.append(asyncio.create_task(score(made, ["a"], cache="no-cache")))
        await asyncio.sleep(0.2)
        assert await elapsed(score(made, ["a"])) == pytest.approx(0.3, abs=0.01)
        await asyncio.gather(*others)


@pytest.mark.parametrize(("shared", "times"), [(False, 2), (True, 1)])
@on_virtual_clock
async def test_keys_are_coalesced_only_where_they_share_scores(shared: bool, times: int):  # noqa: FBT001 - pytest's
    link = ScriptedLink("w")
    async with engine([link], cache_across_keys=shared) as made:
        await asyncio.gather(score(made, ["a"], key="one"), score(made, ["a"], key="two"))
    assert _times_scored(link) == {"a": times}


@on_virtual_clock
async def test_equal_pairs_with_other_fields_fly_apart():
    link = ScriptedLink("w")
    async with engine([link]) as made:
        await asyncio.gather(*[score(made, ["a"], fields={"instruction": text}) for text in "xyx"])
    assert _times_scored(link) == {"a": 2}


@on_virtual_clock
async def test_a_request_that_came_after_a_flush_does_not_wait_for_one_from_before():
    link = ScriptedLink("w", takes_s=1)
    async with engine([link]) as made:
        before = asyncio.create_task(score(made, ["a"]))
        await asyncio.sleep(0.5)
        made.cache.flush("m")
        await asyncio.gather(before, score(made, ["a"]))
    assert _times_scored(link) == {"a": 2}


async def _wait_of_a_follower(documents: Sequence[str], others: int = 0, **follower: Any) -> float:
    """Seconds that a request takes which waits for the first one's queued chunks, of 4 documents and 1 s each."""
    link = ScriptedLink("w", takes_s=1)
    async with engine([link], deadline_s=600, cache_across_keys=True, max_queue_wait_s=600, **QUEUED) as made:
        first = {"within_s": 500} | follower.pop("first", {})
        tasks = [asyncio.create_task(score(made, [f"{n}"], **first)) for n in range(others)]
        tasks.append(asyncio.create_task(score(made, DOCUMENTS, **first)))
        await asyncio.sleep(0.5)
        waited_s = await elapsed(score(made, documents, within_s=500, **follower))
        assert [await task for task in tasks][-1] == right_scores(DOCUMENTS)
    assert _times_scored(link) == _once([*DOCUMENTS, *[f"{n}" for n in range(others)]])
    return waited_s


@pytest.mark.parametrize("document", DOCUMENTS[4::7])
@on_virtual_clock
async def test_a_small_request_that_waits_for_a_queued_chunk_of_a_big_one_gets_it_early(document: str):
    assert await _wait_of_a_follower([document]) < 2.6


@on_virtual_clock
async def test_a_small_request_of_the_same_moment_gets_a_chunk_of_a_big_one_early():
    link = ScriptedLink("w", takes_s=1)
    async with engine([link], deadline_s=600, max_queue_wait_s=600, **QUEUED) as made:
        big = asyncio.create_task(score(made, DOCUMENTS, within_s=500))
        small = [asyncio.create_task(elapsed(score(made, [one], within_s=500))) for one in DOCUMENTS[4::7]]
        # Of ten chunks theirs are six: they go before the others of the big one, but for its first two.
        assert max([await one for one in small]) < 8.1
        await big
    assert _times_scored(link) == _once(DOCUMENTS)


@on_virtual_clock
async def test_an_urgent_request_moves_ahead_what_it_waits_for_however_much_it_is():
    relaxed = {"priority": 5}
    assert await _wait_of_a_follower(DOCUMENTS, priority=-5, first=relaxed, others=20) < 12


@on_virtual_clock
async def test_a_request_of_lower_priority_hurries_nothing():
    assert await _wait_of_a_follower(["document 39"], priority=5) > 9


@on_virtual_clock
async def test_another_keys_small_request_gets_a_coalesced_chunk_in_its_own_turn():
    assert await _wait_of_a_follower(["document 39"], key="other", priority=5, others=3) < 4.6


@on_virtual_clock
async def test_a_busy_key_does_not_put_off_the_request_it_waits_for():
    link = ScriptedLink("w", takes_s=1)
    async with engine([link], cache_across_keys=True, **QUEUED | {"max_queue_wait_s": 600}) as made:
        busy = [asyncio.create_task(score(made, [f"{n}"], key="busy", within_s=500)) for n in range(100)]
        modest = asyncio.create_task(elapsed(score(made, DOCUMENTS, key="modest", within_s=500)))
        await asyncio.sleep(0.5)
        busy.append(asyncio.create_task(score(made, DOCUMENTS, key="busy", within_s=500)))
        # In documents, the shares are equal.
        assert await modest < 10 + 40 + 2
        await asyncio.gather(*busy)


@on_virtual_clock
async def test_what_is_cached_or_under_way_needs_no_admission():
    link = ScriptedLink("w", takes_s=1)
    async with engine([link], max_pending_documents=10) as made:
        await score(made, DOCUMENTS[:10])
        leader = asyncio.create_task(score(made, DOCUMENTS[10:20]))
        await asyncio.sleep(0.5)
        with pytest.raises(Overloaded):
            await score(made, DOCUMENTS[20:21])
        with pytest.raises(Overloaded):
            await score(made, DOCUMENTS[:21])
        assert await elapsed(score(made, DOCUMENTS[:10])) == 0
        assert made.admission.pending_documents == 10
        assert await score(made, DOCUMENTS[:20]) == right_scores(DOCUMENTS[:20])
        await leader


@on_virtual_clock
async def test_admission_counts_only_what_has_to_be_computed():
    link = ScriptedLink("w", takes_s=1)
    async with engine([link], max_pending_documents=20) as made:
        await score(made, DOCUMENTS[:10])
        leader = asyncio.create_task(score(made, DOCUMENTS[10:25]))
        await asyncio.sleep(0.5)
        fits = asyncio.create_task(score(made, DOCUMENTS[:30]))
        await asyncio.sleep(0)
        assert made.admission.pending_documents == 20
        with pytest.raises(Overloaded, match="20 documents are pending; 1 more"):
            await score(made, DOCUMENTS[:31])
        assert await fits == right_scores(DOCUMENTS[:30])
        await leader
    assert _times_scored(link) == _once(DOCUMENTS[:30])


@on_virtual_clock
async def test_documents_of_whoever_left_stay_pending_while_others_wait_for_them():
    """Else one starts, one waits, the first leaves, and so on: 12,000 documents got past a limit of 1000."""
    link = ScriptedLink("w", takes_s=60)
    async with engine([link], max_pending_documents=20, worker_max_calls=64) as made:
        coalesced = []
        for start in (0, 10):
            documents = DOCUMENTS[start : start + 10]
            first = asyncio.create_task(score(made, documents, within_s=100))
            await asyncio.sleep(0.1)
            coalesced.append(asyncio.create_task(score(made, documents, within_s=100)))
            await asyncio.sleep(0.1)
            first.cancel()
            await asyncio.sleep(0.1)
        assert made.admission.pending_documents == 20
        with pytest.raises(Overloaded):
            await score(made, DOCUMENTS[20:21])
        assert [*await asyncio.gather(*coalesced)] == [right_scores(DOCUMENTS[:10]), right_scores(DOCUMENTS[10:20])]
        assert made.admission.pending_documents == 0
