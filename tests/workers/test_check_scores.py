from collections.abc import Callable, Mapping, Sequence

import pytest

from app.errors import ContentRejected, NotFinite
from app.policy.check_pairs import ENGLISH, OTHER_LANGUAGES
from app.settings.model_settings import ModelSettings
from app.types import Fingerprint, Pairs, text_of
from app.workers.check_scores import check
from tests.fake_vllm import score_of

MODEL = Fingerprint("m", "/models/m", 512, "0.32.0", "")


class Model:
    """A model that goes by words in common, and what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[Pairs, Mapping[str, int]]] = []

    async def score(self, pairs: Pairs, fields: Mapping[str, int]) -> Sequence[float]:
        self.calls.append((pairs, fields))
        return [score_of(pairs.queries[0], document) for document in pairs.documents]

    @property
    def pairs(self) -> int:
        return sum(len(pairs) for pairs, _ in self.calls)


class Reversed(Model):
    async def score(self, pairs: Pairs, fields: Mapping[str, int]) -> Sequence[float]:
        return [1 - score for score in await super().score(pairs, fields)]


class Loses(Model):
    """Refuses what is cut at the end of the pair, as some proxies do."""

    async def score(self, pairs: Pairs, fields: Mapping[str, int]) -> Sequence[float]:
        if "truncate_prompt_tokens" in fields:
            raise ContentRejected("no")
        return await super().score(pairs, fields)


class HasLittleRoom(Model):
    """Refuses some texts as too long, whatever the fields say."""

    def __init__(self, refuses: Callable[[str], bool]) -> None:
        super().__init__()
        self.refuses = refuses

    async def score(self, pairs: Pairs, fields: Mapping[str, int]) -> Sequence[float]:
        if any(self.refuses(text_of(side)) for side in (*pairs.queries, *pairs.documents)):
            raise ContentRejected("too long")
        return await super().score(pairs, fields)


class Misses(Model):
    """Compares documents with each other, and levels one query's texts."""

    async def score(self, pairs: Pairs, fields: Mapping[str, int]) -> Sequence[float]:
        scores = await super().score(pairs, fields)
        if pairs.queries[0] == ENGLISH[2].query:
            return [0.5] * len(scores)
        return [0.8 * score / max(scores) if pairs.documents[0] in pairs.queries else score for score in scores]


class Overflows(Model):
    async def score(self, pairs: Pairs, fields: Mapping[str, int]) -> Sequence[float]:
        if max(map(len, pairs.documents)) > 400:
            raise NotFinite("w returned a score that is no finite number")
        return await super().score(pairs, fields)


@pytest.mark.parametrize(("model", "pairs"), [(Model(), 24), (Reversed(), 22)])
async def test_a_check_has_24_pairs_at_most(model: Model, pairs: int):
    await check(model.score, MODEL, ModelSettings())
    assert model.pairs == pairs


async def test_the_kind_of_a_model_is_told_though_it_misses_an_english_pair():
    found = await check(Misses().score, MODEL, ModelSettings())
    assert (found.suspicion, found.kept, found.asked) == (None, 7, 8)
    assert found.learned.kind == "listwise"


async def test_a_thorough_check_has_all_pairs_whatever_the_first_ones_say():
    for model in (Model(), Reversed()):
        await check(model.score, MODEL, ModelSettings(), is_thorough=True)
        assert model.pairs == 36


async def test_a_right_model_is_checked_in_six_languages_and_with_long_texts_cut_in_both_ways():
    model = Model()
    found = await check(model.score, MODEL, ModelSettings())
    assert (found.suspicion, found.kept, found.asked, found.unsure_of) == (None, 4, 4, ())
    assert (found.learned.kind, found.learned.truncation) == ("cross_encoder", "pair")
    (_, by_pair), (_, by_document) = model.calls[-2:]
    assert by_pair["truncate_prompt_tokens"] - by_document["max_tokens_per_doc"] in range(8, 20)
    assert all(len(text_of(one).split()) > by_document["max_tokens_per_doc"] for one in model.calls[-1][0].documents)


async def test_a_reversed_model_is_asked_in_english_only_and_suspect():
    found = await check(Reversed().score, MODEL, ModelSettings())
    assert (found.suspicion, found.kept, found.asked) == ("order", 0, 8)


async def test_a_cut_that_is_refused_leaves_the_other():
    found = await check(Loses().score, MODEL, ModelSettings())
    assert (found.learned.truncation, found.suspicion) == ("document", None)


async def test_a_model_too_short_for_its_template_is_not_asked_for_long_texts():
    model = Model()
    found = await check(model.score, MODEL._replace(max_model_len=160), ModelSettings())
    assert not any(fields for _, fields in model.calls)
    assert found.unsure_of == ("truncation",)


async def test_scores_that_overflow_on_long_texts_are_suspect():
    assert (await check(Overflows().score, MODEL, ModelSettings())).suspicion == "not_finite"


async def test_nothing_is_said_of_a_model_that_has_no_room_for_a_sentence():
    result = await check(HasLittleRoom(lambda text: len(text) > 20).score, MODEL, ModelSettings())
    assert result.says_nothing
    assert result.suspicion is None


async def test_a_language_that_a_model_has_no_room_for_is_one_it_is_not_sure_of():
    result = await check(HasLittleRoom(lambda text: not text.isascii()).score, MODEL, ModelSettings())
    assert not result.says_nothing
    assert result.suspicion is None
    others = {name for name, pair in OTHER_LANGUAGES.items() if not (pair.query + pair.right + pair.wrong).isascii()}
    assert others
    assert others <= set(result.unsure_of)
