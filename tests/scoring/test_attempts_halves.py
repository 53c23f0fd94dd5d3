"""Chunks that workers refuse: halved until they fit, or the documents at fault stand alone; on a virtual clock."""

import pytest

from app.errors import BadAnswer, BadGateway, BadInput, Busy, ClosedMidResponse, ContentRejected
from app.types import Answer
from tests.virtual import ScoreCall, ScriptedLink, engine, on_virtual_clock, right_scores, score

DOCUMENTS = [f"document {number}" for number in range(64)]


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
