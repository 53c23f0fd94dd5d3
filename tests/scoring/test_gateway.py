"""One request over scripted workers: whatever happens inside, the scores are those of one unsplit call."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.assembly import Assembly
from app.errors import (
    BadGateway,
    BadInput,
    ContentRejected,
    DeadlineExceeded,
    Misconfigured,
    NoWorker,
    Unavailable,
    UnknownModel,
    Unreachable,
)
from app.types import Answer, Pairs, RequestContext, RequestStats, RerankRequest
from tests.fake_vllm import score_of
from tests.virtual import ScoreCall, Script, ScriptedLink, engine, now, on_virtual_clock, right_scores, score

DOWN = Unreachable("w refused the connection")
DOCUMENTS = [f"document {number}" for number in range(100)]
SOURCES = ("worker", "refused", "duplicate")


@given(
    documents=st.lists(st.text(max_size=3), min_size=1, max_size=60),
    workers=st.integers(1, 4),
    max_batch=st.integers(1, 20),
    max_batch_tokens=st.integers(1, 200),
    delays=st.lists(st.floats(0, 1), min_size=4, max_size=4),
    seed=st.integers(0, 100),
)
@settings(max_examples=60, deadline=None)
def test_scores_are_the_same_for_every_split_worker_count_and_order_of_arrival(
    documents, workers, max_batch, max_batch_tokens, delays, seed
):
    @on_virtual_clock
    async def run() -> None:
        links = [ScriptedLink(f"w{i}", takes_s=delays[i], per_document_s=delays[-1 - i] / 10) for i in range(workers)]
        limits = {"max_batch": max_batch, "max_batch_tokens": max_batch_tokens, "min_batch": 1}
        async with engine(links, seed=seed, **limits) as made:
            assert (await score(made, documents)).scores == right_scores(documents)

    run()


@on_virtual_clock
async def test_duplicate_documents_are_scored_once():
    link = ScriptedLink("w")
    async with engine([link]) as made:
        scored = await score(made, ["a", "b", "a", "a"])
    assert link.calls[0].pairs.documents == ["a", "b"]
    assert scored.scores == right_scores(["a", "b", "a", "a"])


@on_virtual_clock
async def test_a_model_is_unknown_only_once_every_worker_has_been_asked():
    links = [ScriptedLink("a", model="m"), ScriptedLink("b", model="other", probes_take_s=1)]
    async with engine(links) as made:
        assert (await score(made, DOCUMENTS, model="other")).model == "other"
        with pytest.raises(UnknownModel, match="there is m, other"):
            await score(made, DOCUMENTS, model="third")


@on_virtual_clock
async def test_a_listwise_model_gets_its_list_whole_with_its_duplicates():
    link = ScriptedLink("w")
    async with engine([link], models={"m": {"kind": "listwise"}}, max_batch=16) as made:
        await score(made, [*DOCUMENTS, *DOCUMENTS])
    assert [call.pairs.documents for call in link.calls] == [[*DOCUMENTS, *DOCUMENTS]]


@on_virtual_clock
async def test_pairs_with_queries_of_their_own_keep_them_through_split_and_dedup():
    queries = [f"query {number % 3}" for number in range(50)]
    documents = [f"document {number % 7}" for number in range(50)]
    async with engine([ScriptedLink("a"), ScriptedLink("b")], max_batch=4, min_batch=1) as made:
        scored = await made.gateway.score(
            RerankRequest(pairs=Pairs(queries, documents)),
            RequestContext(key="k", request_id="r", deadline=2000),
        )
    assert scored.scores == [score_of(query, document) for query, document in zip(queries, documents, strict=True)]


@on_virtual_clock
async def test_pieces_run_in_parallel_over_all_workers():
    links = [ScriptedLink(f"w{number}", takes_s=1) for number in range(4)]
    async with engine(links) as made:
        began = now()
        await score(made, DOCUMENTS[:64])
        assert now() - began == pytest.approx(1, abs=0.01)
    assert [len(link.calls) for link in links] == [1, 1, 1, 1]


@on_virtual_clock
async def test_a_request_is_answered_by_workers_of_one_fingerprint_only():
    links = [ScriptedLink("old", version="1"), ScriptedLink("new", version="2"), ScriptedLink("newer", version="2")]
    async with engine(links, max_batch=4, min_batch=1) as made:
        await score(made, DOCUMENTS)
    assert not links[0].calls


@on_virtual_clock
async def test_a_request_starts_again_whole_on_another_fingerprint_when_its_own_is_gone():
    old, new = ScriptedLink("old", version="1", takes_s=1), ScriptedLink("new", version="2")
    new.problem = DOWN
    async with engine([old, new], max_batch=10, min_batch=1) as made:
        asked = asyncio.create_task(score(made, DOCUMENTS))
        await asyncio.sleep(0.5)
        new.problem, old.problem = None, DOWN
        await asyncio.sleep(1.5)
        assert (await asked).scores == right_scores(DOCUMENTS)
    assert sum(len(call.pairs) for call in new.calls) == len(DOCUMENTS)


@on_virtual_clock
async def test_a_worker_that_comes_back_the_same_keeps_what_was_scored():
    link = ScriptedLink("w", takes_s=0.5)
    async with engine([link], max_batch=10, min_batch=1, worker_max_calls=4) as made:
        asked = asyncio.create_task(score(made, DOCUMENTS))
        await asyncio.sleep(0.75)
        link.problem = DOWN
        await asyncio.sleep(2)
        link.problem = None
        assert (await asked).scores == right_scores(DOCUMENTS)
    done_before = 4
    assert len(link.calls) < 10 + done_before + 4


@on_virtual_clock
async def test_without_a_worker_a_request_waits_and_then_says_so():
    link = ScriptedLink("w", problem=DOWN)
    async with engine([link], no_worker_wait_s=5) as made:
        began = now()
        with pytest.raises(NoWorker, match="w refused the connection") as raised:
            await score(made, DOCUMENTS)
        assert now() - began == pytest.approx(5, abs=0.01)
    assert raised.value.retry_after_s


@on_virtual_clock
async def test_a_request_is_served_as_soon_as_a_worker_comes():
    link = ScriptedLink("w", problem=DOWN)
    async with engine([link]) as made:
        asked = asyncio.create_task(score(made, DOCUMENTS))
        await asyncio.sleep(2)
        link.problem = None
        assert (await asked).scores == right_scores(DOCUMENTS)


@on_virtual_clock
async def test_misconfigured_workers_alone_are_told_at_once():
    link = ScriptedLink("w", problem=Misconfigured("w answered 401; check RERANK_WORKER_API_KEY"))
    async with engine([link]) as made:
        with pytest.raises(BadGateway, match="RERANK_WORKER_API_KEY"):
            await score(made, DOCUMENTS)


@on_virtual_clock
async def test_time_that_runs_out_while_a_worker_works_is_told_as_such():
    link = ScriptedLink("w", takes_s=60)
    async with engine([link]) as made:
        with pytest.raises(DeadlineExceeded, match="Time ran out while w worked"):
            await score(made, DOCUMENTS, within_s=3)
    assert link.cancelled == link.most_in_flight > 0


@on_virtual_clock
async def test_a_chunk_that_fails_ends_the_request_and_its_other_chunks():
    links = [ScriptedLink("a", always=Unavailable("a broke")), ScriptedLink("b", takes_s=9)]
    async with engine(links, max_batch=10, min_batch=1, max_attempts=1) as made:
        with pytest.raises(NoWorker, match="a broke"):
            await score(made, DOCUMENTS)
    assert links[1].cancelled == links[1].most_in_flight > 0


def _documents_by_source(made: Assembly) -> dict[str, float | None]:
    read = made.metrics.registry.get_sample_value
    return {source: read("rerank_documents_total", {"source": source}) for source in SOURCES}


def _refuses_bad(link: ScriptedLink) -> Script:
    async def step(call: ScoreCall) -> Answer:
        if any("bad" in text for text in call.texts):
            raise ContentRejected("it is bad")
        return await link.answer(call)

    return step


@on_virtual_clock
async def test_documents_nobody_scores_are_named_up_to_five_and_counted_beyond():
    link = ScriptedLink("w")
    link.always = _refuses_bad(link)
    told = []
    async with engine([link]) as made:
        for bad in (5, 7):
            with pytest.raises(BadInput) as raised:
                await score(made, ["good", *[f"bad {number}" for number in range(bad)]])
            assert raised.value.param == "documents[1]"
            told.append(raised.value.message)
    five = ", ".join(f"documents[{place}]" for place in range(1, 6))
    assert told == [f"{five}: it is bad", f"{five} and 2 more: it is bad"]


@on_virtual_clock
async def test_only_the_documents_nobody_scores_get_the_lowest_score_when_settings_say_so():
    link = ScriptedLink("w")
    link.always = _refuses_bad(link)
    async with engine([link], document_errors="lowest") as made:
        scored = await score(made, ["a", "bad", "b"])
        counted = _documents_by_source(made)
    rest = right_scores(["a", "b"])
    assert scored.scores == [rest[0], min(rest), rest[1]]
    assert scored.unscored == {1: "it is bad"}
    assert counted == {"worker": 2, "refused": 1, "duplicate": 0}


@on_virtual_clock
async def test_tokens_are_those_the_workers_counted_and_none_for_what_was_known():
    stats = RequestStats()
    async with engine([ScriptedLink("w")], max_batch=16) as made:
        first = await score(made, [*DOCUMENTS, *DOCUMENTS], cache="default", stats=stats)
        again = await score(made, DOCUMENTS[::-1], cache="default")
        counted = _documents_by_source(made)
    assert (first.tokens, again.tokens) == (len(DOCUMENTS), 0)
    assert counted == {"worker": len(DOCUMENTS), "refused": 0, "duplicate": len(DOCUMENTS)}
    assert 0 <= stats.workers_s < 60


@on_virtual_clock
async def test_the_longest_of_several_queries_is_counted_and_cut_as_the_models_settings_say():
    link = ScriptedLink("w", max_model_len=64)
    queries = ["zz", "word " * 12]
    request = RerankRequest(pairs=Pairs(queries, ["a", "b"]))
    async with engine([link], models={"m": {"truncation": "document", "template_tokens": 10}}) as made:
        context = RequestContext(key="k", request_id="r", deadline=now() + 25)
        await made.gateway.score(request, context)
    assert link.calls[0].fields == {"max_tokens_per_doc": 64 - 10 - 12}


@on_virtual_clock
async def test_an_unknown_model_is_told_with_those_there_are():
    async with engine([ScriptedLink("w")]) as made:
        with pytest.raises(UnknownModel, match="there is m"):
            await score(made, DOCUMENTS, model="other")


@on_virtual_clock
async def test_several_models_need_a_name_an_alias_or_a_default():
    links = [ScriptedLink("a", model="small"), ScriptedLink("b", model="big")]
    async with engine(links, models={"big": {"aliases": ["best"]}}) as made:
        with pytest.raises(BadInput, match=r"\?model="):
            await score(made, DOCUMENTS)
        assert (await score(made, DOCUMENTS, model="best")).model == "best"
    assert not links[0].calls
    async with engine(links, default_model="small") as made:
        assert (await score(made, DOCUMENTS)).model == "small"
