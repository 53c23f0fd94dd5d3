"""Documents too long for the model, scored by passages: on a virtual clock, over scripted workers that count words."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.assembly import Assembly
from app.errors import BadInput, ContentRejected, Misconfigured, Overloaded
from app.types import Answer, Content, Image, Pairs, RequestContext, RequestStats, RerankRequest, Scored, Side
from tests.fake_vllm import score_of
from tests.virtual import ScoreCall, ScriptedLink, elapsed, engine, now, on_virtual_clock, right_scores, score

# Of 128 tokens, query and special tokens leave 122.
LENGTH, ROOM = 128, 122
BY_PASSAGE: dict[str, Any] = {"long_documents": "passages", "passage_overlap_tokens": 8}


@dataclass
class Counting(ScriptedLink):
    """A worker with a short model, which remembers what it counted."""

    max_model_len: int = LENGTH
    texts: list[str] = field(default_factory=list)
    counts_take_s: float = 0.0
    counting_fails: bool = False
    counting: int = 0
    most_counting: int = 0

    async def count_tokens(self, model: str, text: str, *, request_id: str) -> int:
        self.texts.append(text)
        self.counting += 1
        self.most_counting = max(self.most_counting, self.counting)
        try:
            await asyncio.sleep(self.counts_take_s)
        finally:
            self.counting -= 1
        if self.counting_fails:
            raise Misconfigured("no route")
        return len(text.split())

    @property
    def counted(self) -> list[str]:
        return [text for text in self.texts if text != "q"]

    @property
    def scored(self) -> list[str]:
        return [text for call in self.calls for text in call.texts]


def text(name: str, sentences: int) -> str:
    """Sentences of ten words each, none of which stands in another text."""
    return " ".join(f"{name}{number} " + "has eight more words than this one here." for number in range(sentences))


def best_texts(scored: Scored, documents: list[str]) -> list[str]:
    assert scored.by_passage
    return [document[slice(*one)] for document, one in zip(documents, scored.by_passage.best, strict=True)]


@on_virtual_clock
async def test_a_long_document_has_the_score_of_its_best_passage():
    link, documents, stats = Counting("w"), [text("a", 40), "short", text("b", 30)], RequestStats()
    async with engine([link], **BY_PASSAGE) as made:
        scored = await score(made, documents, stats=stats)
    best = best_texts(scored, documents)
    assert scored.scores == right_scores(best)
    assert best[1] == "short"
    for document, own in zip(documents, scored.scores, strict=True):
        passages = [one for one in link.scored if one in document]
        assert own == max(right_scores(passages))
        assert all(len(one.split()) <= ROOM for one in passages)
        # By its estimate alone, which has four bytes in a token, one document would need half as many again.
        assert len(passages) <= len(document.split()) / (0.8 * (ROOM - 8)) + 1
    assert scored.by_passage
    assert (scored.by_passage.cut, scored.by_passage.scored) == (2, len(link.scored) - 1)
    assert (stats.passages, stats.passages_dropped) == (len(link.scored) - 1, 0)


@on_virtual_clock
async def test_without_the_setting_a_long_document_is_one_pair_and_nobody_counts():
    link, documents = Counting("w"), [text("a", 40), "short"]
    async with engine([link]) as made:
        scored = await score(made, documents)
        assert scored.by_passage is None
        assert (await score(made, documents, long_documents="passages")).by_passage
    assert link.calls[0].pairs.documents == documents


@on_virtual_clock
async def test_documents_that_surely_fit_are_neither_cut_nor_counted():
    link, documents = Counting("w"), ["x" * (2 * ROOM - 4), "y"]
    async with engine([link], **BY_PASSAGE) as made:
        scored = await score(made, documents)
    assert (link.scored, link.counted, scored.by_passage) == (documents, [], None)


@on_virtual_clock
async def test_whether_a_document_fits_is_for_the_worker_to_say():
    # Both have 9 bytes in a word: by the estimate they'd be twice as long as there is room for.
    fits, fits_not = "wordword " * ROOM, "wordword " * (ROOM + 1)
    link = Counting("w")
    async with engine([link], **BY_PASSAGE) as made:
        scored = await score(made, [fits, fits_not])
    assert link.counted == [fits, fits_not]
    assert link.scored[0] == fits
    assert len(link.scored) == 3
    assert scored.scores[0] == score_of("q", fits)


@on_virtual_clock
async def test_a_querys_tokens_are_counted_too_so_that_passages_are_as_long_as_they_may_be():
    link, query = Counting("w"), "wordwordword " * 4
    async with engine([link], **BY_PASSAGE) as made:
        await score(made, [text("a", 60)], query=query)
    # A token for each of its bytes would leave them 71.
    assert 100 < max(len(one.split()) for one in link.scored) <= ROOM - 3


@on_virtual_clock
async def test_of_a_document_far_too_long_only_samples_are_counted():
    link = Counting("w")
    async with engine([link], **BY_PASSAGE) as made:
        await score(made, [text("a", 4000)])
    assert [len(one) for one in link.counted] == [4000]


@pytest.mark.parametrize("failing", [{"counting_fails": True}, {"counts_take_s": 3600.0}], ids=["fails", "hangs"])
@on_virtual_clock
async def test_when_nobody_counts_an_estimate_does_and_the_request_is_answered(failing: Any):
    links, documents = [Counting(name, **failing) for name in "abc"], [text("a", 40)] * 20
    async with engine(links, **BY_PASSAGE) as made:
        assert await elapsed(score(made, documents, within_s=1.0)) < 0.2
        assert await elapsed(score(made, documents)) < 1.1
        scored = await score(made, documents)
        assert await elapsed(score(made, documents)) < 0.1, "who failed to count isn't asked for a while"
    assert scored.scores == right_scores(best_texts(scored, documents))
    assert all(len(one.encode()) <= 4 * ROOM for link in links for one in link.scored)


@on_virtual_clock
async def test_at_most_64_texts_are_counted_eight_at_a_time_and_each_once():
    links, documents = [Counting(name, counts_take_s=0.01) for name in "ab"], [text(f"d{n}", 15) for n in range(100)]
    async with engine(links, **BY_PASSAGE) as made:
        await score(made, documents)
        counted = [one for link in links for one in link.counted]
        assert sorted(counted) == sorted(documents[:63]), "the query is one"
        assert [len(link.texts) for link in links] == [32, 32]
        assert sum(link.most_counting for link in links) <= 8 + 1
        await score(made, documents[:63])
        assert sum(len(link.texts) for link in links) == 64
        await score(made, documents)
        assert sum(len(link.texts) for link in links) == 1 + 100


@on_virtual_clock
async def test_a_documents_score_depends_on_no_other_document_of_the_request():
    documents = [text(f"d{number}", 10 + 3 * number) for number in range(20)]
    async with engine([Counting("w")], **BY_PASSAGE) as made:
        together = (await score(made, documents)).scores
    async with engine([Counting("w")], **BY_PASSAGE) as made:
        alone = [(await score(made, [one])).scores[0] for one in reversed(documents)]
    assert together == alone[::-1]


@on_virtual_clock
async def test_passages_are_deduplicated_remembered_and_split_as_what_they_are():
    link, documents = Counting("w"), [text("a", 60), text("b", 60), text("a", 60)]
    async with engine([link], max_batch=4, min_batch=1, **BY_PASSAGE) as made:
        first = await score(made, documents, cache="default")
        sent = link.scored
        assert len(sent) == len(set(sent)) > 8
        assert max(len(call.pairs) for call in link.calls) <= 4
        again = await score(made, documents[:2], cache="default")
        assert link.scored == sent
    assert again.scores == first.scores[:2]
    assert first.scores[2] == first.scores[0]


@on_virtual_clock
async def test_what_is_pending_counts_passages():
    link = Counting("w", takes_s=1)
    async with engine([link], max_pending_documents=12, **BY_PASSAGE) as made:
        waiting = asyncio.create_task(score(made, [text("a", 60)]))
        await asyncio.sleep(0.5)
        assert made.admission.pending_documents == len(link.scored) > 4
        with pytest.raises(Overloaded, match="RERANK_MAX_PENDING_DOCUMENTS"):
            await score(made, [text("b", 110)])
        await waiting


@on_virtual_clock
async def test_no_document_has_more_passages_than_allowed_by_settings_model_or_request():
    async def passages(made: Assembly, **wishes: Any) -> int:
        stats = RequestStats()
        await score(made, [text("a", 400)], stats=stats, **wishes)
        assert stats.passages + stats.passages_dropped == pytest.approx(33, abs=5)
        return stats.passages

    async with engine([Counting("w")], **BY_PASSAGE) as made:
        assert await passages(made) == 10
        assert await passages(made, max_passages=3) == 3
        assert await passages(made, max_passages=1) == 1
        assert await passages(made, max_passages=50) == 10
    models = {"m": {"max_passages_per_document": 4, "passage_overlap_tokens": 0, "long_documents": "passages"}}
    async with engine([Counting("w")], models=models) as made:
        assert await passages(made) == 4
        assert await passages(made, max_passages=2) == 2


@on_virtual_clock
async def test_a_bomb_of_huge_documents_is_bounded_and_lets_others_have_their_turn():
    stats, turns = RequestStats(), 0
    async with engine([Counting("w")], **BY_PASSAGE, max_passages_per_document=1000) as made:
        asked = asyncio.create_task(score(made, ["word " * 200_000] * 30, stats=stats))
        while not stats.passages:
            await asyncio.sleep(0)
            turns += 1
        await asked
    assert stats.passages == 30 * 1000
    assert stats.passages_dropped > 30 * 500
    assert turns > 20


@on_virtual_clock
async def test_a_requests_own_wish_wins_over_the_models_and_that_over_everybodys():
    documents = [text("a", 40)]
    models = {"m": {"long_documents": "truncate"}}
    async with engine([Counting("w")], models=models, **BY_PASSAGE) as made:
        assert (await score(made, documents)).by_passage is None
        assert (await score(made, documents, long_documents="passages")).by_passage
    async with engine([Counting("w")], **BY_PASSAGE) as made:
        assert (await score(made, documents, long_documents="truncate")).by_passage is None
        assert (await score(made, documents, is_cut=True)).by_passage, "it asks for no error, which isn't one"
        assert (await score(made, documents, is_cut=False)).by_passage is None


@on_virtual_clock
async def test_documents_are_cut_to_the_length_that_a_request_sets_and_never_to_next_to_nothing():
    link, documents = Counting("w"), [text("a", 40)]
    async with engine([link], **BY_PASSAGE) as made:
        await score(made, documents, fields={"truncate_prompt_tokens": 64})
        assert len(link.scored) > 6
        assert all(len(one.split()) <= 64 for one in link.scored)
        link.calls.clear()
        await score(made, documents, fields={"truncate_prompt_tokens": 20})
        assert link.scored == documents


@on_virtual_clock
async def test_a_model_that_compares_documents_with_each_other_has_no_passages():
    link, documents = Counting("w"), [text("a", 40), "b"]
    model = {"kind": "listwise", "long_documents": "truncate", "template_tokens": 20}
    async with engine([link], models={"m": model}, **BY_PASSAGE) as made:
        await score(made, documents)
        with pytest.raises(BadInput, match="no passages") as raised:
            await score(made, documents, long_documents="passages")
    assert raised.value.param == "long_documents"
    assert link.scored == documents


@on_virtual_clock
async def test_a_document_one_of_whose_passages_is_refused_is_named_as_the_clients():
    link = Counting("w")

    async def refuse(call: ScoreCall) -> Answer:
        if any("bad20 " in text for text in call.texts):
            raise ContentRejected("it is bad")
        return await link.answer(call)

    link.always = refuse
    async with engine([link], **BY_PASSAGE) as made:
        with pytest.raises(BadInput, match=r"^documents\[1\]: it is bad"):
            await score(made, [text("a", 30), text("bad", 30), text("c", 30)])


@on_virtual_clock
async def test_a_querys_image_leaves_passages_less_room():
    image = Image(url="data:image/png;base64,AA==", digest=b"a", tokens=40)
    queries: list[Side] = ["q", Content(("q", image))]
    async with engine([Counting("w")], models={"m": {"multimodal": True}}, **BY_PASSAGE) as made:
        costs = []
        for query in queries:
            context = RequestContext(key="k", request_id="r", deadline=now() + 25)
            await made.gateway.score(RerankRequest(pairs=Pairs([query], [text("b", 40)])), context)
            costs.append(context.stats.passages)
    assert costs[1] > costs[0] > 1


@on_virtual_clock
async def test_pairs_with_queries_of_their_own_keep_them():
    queries, documents = ["one", "two", "three"], [text("a", 40), "b", text("c", 40)]
    link = Counting("w")
    async with engine([link], **BY_PASSAGE) as made:
        request = RerankRequest(pairs=Pairs(queries, documents))
        scored = await made.gateway.score(request, RequestContext(key="k", request_id="r", deadline=now() + 25))
    best = best_texts(scored, documents)
    assert scored.scores == [score_of(query, one) for query, one in zip(queries, best, strict=True)]


@on_virtual_clock
async def test_a_document_with_images_is_not_cut_and_stands_whole_beside_passages_of_others():
    link, text = Counting("w"), "word " * 300
    content = Content((text, Image("", b"1", 1)))
    async with engine([link], models={"m": {"multimodal": True}}, **BY_PASSAGE) as made:
        scored = await score(made, [content, text])
    assert link.calls[0].pairs.documents[0] == content
    assert len(link.calls[0].pairs) > 2
    assert scored.by_passage
    assert scored.by_passage.best[0] == (0, len(text))
    assert scored.by_passage.best[1] != (0, len(text))
