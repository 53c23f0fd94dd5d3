"""Requests that hold images: for models that read them and models that don't."""

import pytest

from app.errors import BadInput, Unreachable
from app.types import Content, Image, Side, text_of
from tests.virtual import ScriptedLink, engine, on_virtual_clock, right_scores, score

DOCUMENTS: list[Side] = [f"document {number}" for number in range(40)]
MODELS = {"m": {"multimodal": True}}


def picture(number: int = 0, *texts: str) -> Content:
    return Content((*texts, Image(f"data:image/png;base64,{number}", bytes([number]), 1)))


PICTURES: list[Side] = [picture(number) for number in range(40)]


@on_virtual_clock
async def test_a_model_that_is_not_declared_to_read_images_gets_none():
    link = ScriptedLink("w")
    async with engine([link]) as made:
        with pytest.raises(BadInput, match=r"reads no images.*models\.m\.multimodal: true") as caught:
            await score(made, ["a", picture(), "b"])
        assert caught.value.param == "documents[1]"
        with pytest.raises(BadInput) as caught:
            await score(made, ["a"], query=picture())
        assert caught.value.param == "query"
    assert not link.calls


@on_virtual_clock
async def test_equal_pairs_with_images_are_scored_once_and_known_afterwards():
    link = ScriptedLink("w")
    documents: list[Side] = [picture(1), "a", picture(1, "a"), picture(1), picture(2)]
    async with engine([link], models=MODELS, max_batch=2, min_batch=1) as made:
        assert (await score(made, documents, cache="default")).scores == right_scores(documents)
        sent = [document for call in link.calls for document in call.pairs.documents]
        assert sorted(map(repr, sent)) == sorted(map(repr, [*documents[:3], picture(2)]))
        link.calls.clear()
        assert (await score(made, documents, cache="default")).scores == right_scores(documents)
        assert not link.calls
        await score(made, documents, cache="no-store")
        assert sum(len(call.pairs) for call in link.calls) == 4


@on_virtual_clock
async def test_lists_with_images_stay_whole_and_unknown_where_they_may_not_be_split():
    link = ScriptedLink("w")
    models = {"m": {"multimodal": True, "split_images": False}}
    async with engine([link], models=models, max_batch=4, min_batch=1) as made:
        for _ in range(2):
            await score(made, [*PICTURES, *DOCUMENTS[:1], *PICTURES], cache="default")
        assert [len(call.pairs) for call in link.calls] == [81, 81]
        link.calls.clear()
        # A picture in the query is one for each document.
        await score(made, DOCUMENTS, query=picture())
        assert [len(call.pairs) for call in link.calls] == [40]
        await score(made, DOCUMENTS)
        assert max(len(call.pairs) for call in link.calls[1:]) == 4


@on_virtual_clock
async def test_the_fallback_scores_the_texts_and_an_image_alone_is_last():
    documents: list[Side] = [picture(1), picture(2, "document query"), "query"]
    link = ScriptedLink("w", problem=Unreachable("w refused the connection"))
    async with engine([link], fallback="lexical", no_worker_wait_s=0) as made:
        scored = await score(made, documents, query="query")
        assert scored.degraded == "lexical"
        assert scored.scores[0] == 0.0 < min(scored.scores[1:])
        assert list(scored.scores) == list((await score(made, [*map(text_of, documents)], query="query")).scores)


@on_virtual_clock
async def test_the_lexical_model_reads_no_images_unless_it_stands_in_for_another():
    async with engine([ScriptedLink("w", model="lexical")], models={"lexical": {"aliases": ["*"]}}) as made:
        with pytest.raises(BadInput, match="reads no images"):
            await score(made, [picture()], model="lexical")
        assert (await score(made, [picture()], model="another")).degraded == "lexical"
