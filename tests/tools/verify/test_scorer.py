from random import Random

import pytest

from app.errors import AttemptTimeout, BadInput
from app.settings import Settings
from app.tools.verify.runs import documents_to_score, measure, sizes
from app.tools.verify.scorer import NotThere, Scorer, serving
from app.types import Fingerprint, Pairs
from tests.virtual import ScriptedLink, on_virtual_clock

FINGERPRINT = Fingerprint("m", "/models/m", 512, "1", "")


def texts(count: int) -> list[str]:
    return [f"a few words of text {number}" for number in range(count)]


@on_virtual_clock
async def test_the_promised_number_of_documents_is_scored():
    sample = [Pairs(["q"], texts(70)), Pairs(["q"], texts(9)), Pairs(["q"], ["one"])]
    scored: list[int] = []
    scorer = Scorer(link=ScriptedLink("w"), fingerprint=FINGERPRINT, settings=Settings(), on_scored=scored.append)
    measured = await measure(scorer, sample, Random(1))
    assert sum(scored) == documents_to_score(sample)
    assert list(measured.splits) == sizes(sample) == [8, 16, 32, 64]


@on_virtual_clock
async def test_a_list_is_cut_and_its_texts_are_cut_as_the_gateway_does_it():
    link = ScriptedLink("w")
    settings = Settings(max_batch_tokens=100)
    scorer = Scorer(link=link, fingerprint=FINGERPRINT, settings=settings)
    pairs = Pairs(["q"], texts(20))
    assert max(map(len, scorer.pieces(pairs, 16))) < 10
    await scorer.score(pairs)
    assert link.calls[0].fields == {"truncate_prompt_tokens": -1}


@on_virtual_clock
async def test_a_query_too_long_for_the_model_is_told():
    scorer = Scorer(link=ScriptedLink("w"), fingerprint=FINGERPRINT, settings=Settings())
    with pytest.raises(BadInput, match="shorten the query"):
        await scorer.score(Pairs(["word " * 600], ["d"]))


@on_virtual_clock
async def test_a_worker_that_hangs_is_not_waited_for_for_ever():
    scorer = Scorer(link=ScriptedLink("w", hangs=True), fingerprint=FINGERPRINT, settings=Settings())
    with pytest.raises(AttemptTimeout, match="w didn't score 3 documents in 300 s"):
        await scorer.score(Pairs(["q"], texts(3)))


@on_virtual_clock
async def test_a_source_without_a_worker_is_named():
    with pytest.raises(NotThere, match="no workers: kubernetes://models/vllm:8000"):
        async with serving(Settings(workers=("kubernetes://models/vllm:8000",)), None):
            pass
