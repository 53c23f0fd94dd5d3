"""What an operator sets for a model's scores: a scale of their own, and what the model judges by."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from app.errors import BadInput, ContentRejected
from app.policy.score_scale import sigmoid
from app.types import Answer, RequestStats, text_of
from tests.virtual import ScoreCall, ScriptedLink, engine, on_virtual_clock, score

DOCUMENTS = [f"document {number}" for number in range(40)]
NORMALIZED: dict[str, Any] = {"models": {"m": {"normalize": "sigmoid"}}}
RAW = {"use_activation": False}


def raw_score(document: str) -> float:
    """Above what bfloat16 and float32 tell from 1, and far below 0."""
    return float(document.split()[1]) - 20


async def answer_raw(call: ScoreCall) -> Answer:
    """As a worker does: raw scores when it is asked for them, else what became of their sigmoids in its precision."""
    await asyncio.sleep(0.01)
    raw = [raw_score(text_of(document)) for document in call.pairs.documents]
    is_raw = call.fields.get("use_activation") is False
    return Answer(raw if is_raw else [round(sigmoid(one), 2) for one in raw], len(raw))


def normalized(documents: Sequence[str]) -> list[float]:
    return [sigmoid(raw_score(document)) for document in documents]


@on_virtual_clock
async def test_normalized_scores_are_sigmoids_of_raw_ones_and_keep_their_order():
    link = ScriptedLink("w", always=answer_raw)
    async with engine([link], max_batch=7, min_batch=1, **NORMALIZED) as made:
        scored = await score(made, DOCUMENTS)
    assert list(scored.scores) == normalized(DOCUMENTS)
    assert len(set(scored.scores)) == len(DOCUMENTS)
    assert scored.score_scale == "probability"
    assert all(call.fields["use_activation"] is False for call in link.calls)


@on_virtual_clock
async def test_a_request_for_raw_scores_gets_them_whatever_the_operator_normalizes():
    async with engine([ScriptedLink("w", always=answer_raw)], **NORMALIZED) as made:
        scored = await score(made, DOCUMENTS, fields=RAW)
    assert list(scored.scores) == list(map(raw_score, DOCUMENTS))
    assert scored.score_scale == "logit"


@on_virtual_clock
async def test_a_score_depends_on_no_other_document_of_the_request():
    async with engine([ScriptedLink("w", always=answer_raw)], **NORMALIZED) as made:
        alone = [(await score(made, [document])).scores[0] for document in DOCUMENTS]
        assert list((await score(made, DOCUMENTS)).scores) == alone


@on_virtual_clock
async def test_what_is_cached_and_coalesced_is_right_on_both_scales():
    link, stats = ScriptedLink("w", always=answer_raw), RequestStats()
    async with engine([link], **NORMALIZED) as made:
        both = await asyncio.gather(
            score(made, DOCUMENTS, cache="default"), score(made, DOCUMENTS, cache="default", fields=RAW)
        )
        again = await score(made, DOCUMENTS, cache="default", stats=stats)
    assert list(both[0].scores) == list(again.scores) == normalized(DOCUMENTS)
    assert list(both[1].scores) == list(map(raw_score, DOCUMENTS))
    assert sum(len(call.pairs) for call in link.calls) == stats.cache_hits == len(DOCUMENTS)


@on_virtual_clock
async def test_raw_scores_are_other_pairs_in_the_cache_than_a_workers_own():
    link = ScriptedLink("w", always=answer_raw)
    async with engine([link]) as made:
        own = await score(made, DOCUMENTS, cache="default")
        raw = await score(made, DOCUMENTS, cache="default", fields=RAW)
    assert list(own.scores) == [round(one, 2) for one in normalized(DOCUMENTS)]
    assert list(raw.scores) == list(map(raw_score, DOCUMENTS))


@on_virtual_clock
async def test_a_refused_document_gets_the_lowest_normalized_score():
    async def answer(call: ScoreCall) -> Answer:
        if DOCUMENTS[30] in call.pairs.documents:
            raise ContentRejected("too odd")
        return await answer_raw(call)

    async with engine([ScriptedLink("w", always=answer)], document_errors="lowest", **NORMALIZED) as made:
        scored = await score(made, DOCUMENTS)
    assert list(scored.scores) == [*normalized(DOCUMENTS[:30]), sigmoid(-20), *normalized(DOCUMENTS[31:])]


@on_virtual_clock
async def test_sums_over_tokens_are_given_as_they_are():
    models = {"m": {"normalize": "none", "kind": "late_interaction"}}
    async with engine([ScriptedLink("w", always=answer_raw)], models=models) as made:
        assert (await score(made, DOCUMENTS, fields=RAW)).score_scale == "maxsim"


@on_virtual_clock
async def test_a_models_instruction_is_sent_and_is_part_of_what_a_pair_is_known_by():
    link = ScriptedLink("w")
    async with engine([link], models={"m": {"kind": "template", "instruction": "find laws"}}) as made:
        for fields in ({}, {"instruction": "find laws"}, {"instruction": "find cures"}, {"instruction": ""}):
            await score(made, DOCUMENTS, cache="default", fields=fields)
    assert [call.fields["instruction"] for call in link.calls] == ["find laws", "find cures", ""]


@on_virtual_clock
async def test_the_longer_the_instruction_the_less_room_a_document_has():
    link = ScriptedLink("w")
    async with engine([link], models={"m": {"kind": "template", "instruction": "find laws"}}) as made:
        await score(made, ["d"], fields={"instruction": ""})
        await score(made, ["d"])
        await score(made, ["d"], fields={"instruction": "laws " * 100})
    bare, usual, long = (call.fields["max_tokens_per_doc"] for call in link.calls)
    assert (usual, long) == (bare - len("find laws"), bare - 100), "a long one is counted by a worker"


@on_virtual_clock
async def test_an_instruction_on_a_model_that_reads_none_is_refused_before_any_work():
    link = ScriptedLink("w")
    async with engine([link], models={"m": {"kind": "bi_encoder"}}) as made:
        with pytest.raises(BadInput, match="instruction does nothing on m, whose kind is bi_encoder"):
            await score(made, DOCUMENTS, fields={"instruction": "find laws"})
    assert not link.calls
