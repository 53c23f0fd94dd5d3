"""What is cached: which pairs are asked of workers again, and which never enter."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest

from app.errors import BadInput, ClosedMidResponse, ContentRejected, Unreachable
from app.types import Answer, Pairs, RequestContext, RequestStats, RerankRequest
from tests.fake_vllm import score_of
from tests.virtual import ScoreCall, ScriptedLink, engine, on_virtual_clock, right_scores
from tests.virtual import score as ask

DOCUMENTS = [f"document {number}" for number in range(40)]
SMALL_CHUNKS: dict[str, Any] = {"max_batch": 5, "min_batch": 1, "worker_max_calls": 1}


async def score(made: Any, documents: Sequence[str], **more: Any) -> list[float]:
    scored = await ask(made, documents, **{"cache": "default"} | more)
    return list(scored.scores)


def _asked(*links: ScriptedLink) -> list[str]:
    """The documents that workers were asked to score, since the last time this was called."""
    documents = sorted(text for link in links for call in link.calls for text in call.texts)
    for link in links:
        link.calls.clear()
    return documents


@on_virtual_clock
async def test_only_what_is_not_cached_goes_to_workers_and_all_scores_are_right():
    links = [ScriptedLink("a"), ScriptedLink("b")]
    async with engine(links) as made:
        await score(made, DOCUMENTS[::3])
        assert _asked(*links) == sorted(DOCUMENTS[::3])
        stats = RequestStats()
        assert await score(made, [*DOCUMENTS, *DOCUMENTS[:3]], stats=stats) == right_scores(
            [*DOCUMENTS, *DOCUMENTS[:3]]
        )
        assert _asked(*links) == sorted(set(DOCUMENTS) - set(DOCUMENTS[::3]))
        assert stats.cache_hits == len(DOCUMENTS[::3])
        stats = RequestStats()
        assert await score(made, DOCUMENTS[::-1], stats=stats) == right_scores(DOCUMENTS[::-1])
        assert (_asked(*links), stats.cache_hits, stats.chunks) == ([], len(DOCUMENTS), 0)


@on_virtual_clock
async def test_pairs_with_queries_of_their_own_are_known_to_requests_with_one_query():
    link = ScriptedLink("w")
    async with engine([link]) as made:
        pairs = Pairs(["q", "other", "q"], ["a", "b", "c"])
        context = RequestContext(key="anonymous", request_id="r", deadline=2000)
        await made.gateway.score(RerankRequest(pairs=pairs), context)
        link.calls.clear()
        assert await score(made, ["a", "b", "c"]) == right_scores(["a", "b", "c"])
        assert _asked(link) == ["b"]


@on_virtual_clock
async def test_the_same_document_for_another_query_is_another_pair():
    link = ScriptedLink("w")
    async with engine([link]) as made:
        await score(made, DOCUMENTS, query="one")
        assert await score(made, DOCUMENTS, query="two") == [score_of("two", document) for document in DOCUMENTS]


@on_virtual_clock
async def test_scores_of_a_request_that_failed_are_kept_so_that_the_next_needs_only_the_rest():
    link = ScriptedLink("w")
    async with engine([link], max_attempts=1, **SMALL_CHUNKS) as made:
        link.script = deque([link.answer] * 3 + [ClosedMidResponse("w broke off")])
        with pytest.raises(Exception, match="broke off"):
            await score(made, DOCUMENTS)
        done = {document for call in link.calls[:3] for document in call.pairs.documents}
        link.calls.clear()
        assert await score(made, DOCUMENTS) == right_scores(DOCUMENTS)
        assert _asked(link) == sorted(set(DOCUMENTS) - done)


@on_virtual_clock
async def test_halves_of_a_chunk_are_kept_and_a_refused_document_is_not():
    async def refusing(call: ScoreCall) -> Answer:
        if "document 3" in call.pairs.documents:
            raise ContentRejected("w refused it")
        return await link.answer(call)

    link = ScriptedLink("w", always=refusing)
    async with engine([link]) as made:
        with pytest.raises(BadInput, match=r"documents\[3\]: w refused it"):
            await score(made, DOCUMENTS)
        _asked(link)
        with pytest.raises(BadInput, match=r"documents\[3\]: w refused it"):
            await score(made, DOCUMENTS)
        assert set(_asked(link)) == {"document 3"}


@on_virtual_clock
async def test_the_lowest_score_that_stands_in_for_a_refused_document_never_enters():
    async def refusing(call: ScoreCall) -> Answer:
        if "a" in call.pairs.documents:
            raise ContentRejected("w refused it")
        return await link.answer(call)

    link = ScriptedLink("w", always=refusing)
    async with engine([link], document_errors="lowest") as made:
        assert await score(made, ["a", "b"]) == right_scores(["b", "b"])
        link.always = None
        _asked(link)
        assert await score(made, ["a", "b"]) == right_scores(["a", "b"])
        assert _asked(link) == ["a"]


@on_virtual_clock
async def test_no_cache_reads_nothing_but_writes():
    link = ScriptedLink("w")
    async with engine([link]) as made:
        await score(made, ["a", "b"])
        _asked(link)
        assert await score(made, ["a", "b", "c"], cache="no-cache") == right_scores(["a", "b", "c"])
        assert _asked(link) == ["a", "b", "c"]
        await score(made, ["a", "b", "c"])
        assert _asked(link) == []


@on_virtual_clock
async def test_what_no_cache_writes_replaces_what_was_there():
    link = ScriptedLink("w")
    async with engine([link]) as made:

        async def otherwise(_: ScoreCall) -> Answer:
            return Answer([0.125], 1)

        await score(made, ["a"])
        link.script.append(otherwise)
        await score(made, ["a"], cache="no-cache")
        assert await score(made, ["a"]) == [0.125]


@on_virtual_clock
async def test_no_store_neither_reads_nor_writes():
    link = ScriptedLink("w")
    async with engine([link]) as made:
        await score(made, ["a"])
        await score(made, ["a", "b"], cache="no-store")
        _asked(link)
        await score(made, ["a", "b"])
        assert _asked(link) == ["b"]


@on_virtual_clock
async def test_scores_of_a_listwise_model_never_enter():
    link = ScriptedLink("w")
    async with engine([link], models={"m": {"kind": "listwise"}}) as made:
        for _ in range(2):
            await score(made, DOCUMENTS)
            assert _asked(link) == sorted(DOCUMENTS)
        assert len(made.cache.memory) == 0


@on_virtual_clock
async def test_scores_of_the_fallback_never_enter():
    link = ScriptedLink("w", problem=Unreachable("w is down"))
    async with engine([link], fallback="lexical", no_worker_wait_s=0.1) as made:
        assert (await ask(made, DOCUMENTS, cache="default")).degraded == "lexical"
        assert len(made.cache.memory) == 0
        link.problem = None
        await asyncio.sleep(30)
        assert await score(made, DOCUMENTS) == right_scores(DOCUMENTS)


@pytest.mark.parametrize("shared", [False, True])
@on_virtual_clock
async def test_keys_share_scores_only_where_the_settings_say_so(shared: bool):  # noqa: FBT001 - a parameter of pytest's
    link = ScriptedLink("w")
    async with engine([link], cache_across_keys=shared) as made:
        await score(made, ["a"], key="one")
        await score(made, ["a"], key="two")
        assert _asked(link) == (["a"] if shared else ["a", "a"])
        await score(made, ["a"], key="one")
        assert _asked(link) == []


@on_virtual_clock
async def test_a_flush_makes_all_scores_of_its_model_unknown_and_leaves_others():
    small, big = ScriptedLink("a", model="small"), ScriptedLink("b", model="big")
    async with engine([small, big]) as made:
        for model in ("small", "big"):
            await score(made, DOCUMENTS, model=model)
        _asked(small, big)
        for _ in range(2):
            made.cache.flush("small")
            for model in ("small", "big"):
                assert await score(made, DOCUMENTS, model=model) == right_scores(DOCUMENTS)
            assert (_asked(small), _asked(big)) == (sorted(DOCUMENTS), [])


@on_virtual_clock
async def test_a_score_that_comes_in_after_a_flush_belongs_to_what_was_flushed():
    link = ScriptedLink("w", takes_s=1)
    async with engine([link]) as made:
        asked = asyncio.create_task(score(made, ["a"]))
        await asyncio.sleep(0.5)
        made.cache.flush("m")
        await asked
        await score(made, ["a"])
        assert _asked(link) == ["a", "a"]


@on_virtual_clock
async def test_other_fields_are_a_miss_and_those_without_influence_are_none():
    link = ScriptedLink("w")
    async with engine([link]) as made:
        await score(made, ["a"], fields={"instruction": "x", "user": "u"})
        await score(made, ["a"], fields={"instruction": "x", "user": "v", "priority": 3})
        assert _asked(link) == ["a"]
        await score(made, ["a"], fields={"instruction": "y", "user": "u"})
        assert _asked(link) == ["a"]


@on_virtual_clock
async def test_another_fingerprint_is_a_miss():
    old, new = ScriptedLink("old", version="1"), ScriptedLink("new", version="2", problem=Unreachable("new is down"))
    async with engine([old, new], probe_interval_s=1) as made:
        await score(made, ["a"])
        old.problem, new.problem = new.problem, None
        await asyncio.sleep(30)
        await score(made, ["a"])
        assert (_asked(old), _asked(new)) == (["a"], ["a"])
