"""Cutting a document into passages, and the scores of documents from those of their passages."""

# ruff: noqa: RUF001 - texts of other scripts

import math
from itertools import pairwise
from random import Random
from time import perf_counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import ContentRejected
from app.policy.passages import LEAST_TOKENS, PassageLimits, cut, with_passages
from app.types import Answer, Pairs, Passage

LIMITS = PassageLimits(tokens=50, overlap_tokens=8, passages=10)
ENGLISH = "The gateway cuts long documents. Each passage ends with a sentence! Does it? It does.\n\n"
# What a text of each may have, with a sentence end of its own.
SENTENCES = {
    "Chinese": "网关把长文档切成段落。每一段都以句子结尾！是吗？",
    "Japanese": "長い文書は段落に分けられます。「本当ですか？」はい。",
    "Arabic": "تقسم البوابة المستندات الطويلة. هل هذا صحيح؟ نعم. ",
    "Urdu": "یہ ایک لمبا متن ہے۔ اس کے کئی جملے ہیں۔ ",
    "Hindi": "यह एक लंबा दस्तावेज़ है। इसमें कई वाक्य हैं। ",
    "Russian": "Длинный документ делится на части. Это так? Да! ",
    "Amharic": "ይህ ረጅም ሰነድ ነው። ብዙ ዓረፍተ ነገሮች አሉት። ",
}
TEXTS = st.one_of(
    st.text(max_size=400),
    st.text("ab. \n。é语👩\u200d👧🇩🇪e\u0301", max_size=600),
    st.lists(st.sampled_from([ENGLISH, *SENTENCES.values(), "x" * 90]), max_size=30).map("".join),
)


def size(text: str) -> int:
    return len(text.encode())


@given(
    text=TEXTS,
    tokens=st.integers(LEAST_TOKENS, 60),
    overlap=st.integers(0, 40),
    most=st.integers(1, 8),
    bytes_per_token=st.sampled_from([1.0, 2.7, 4.0, 12.5]),
)
@example(text="👩" * 40, tokens=LEAST_TOKENS, overlap=40, most=8, bytes_per_token=1.0)
def test_passages_follow_each_other_overlap_as_asked_fit_and_are_at_most_so_many(
    text, tokens, overlap, most, bytes_per_token
):
    passages, dropped = cut(text, PassageLimits(tokens, overlap, most), bytes_per_token=bytes_per_token)
    room = int(tokens * bytes_per_token)
    assert 1 <= len(passages) <= most
    assert passages[0].start == 0
    assert (passages[-1].end == len(text)) == (dropped == 0)
    for before, after in pairwise(passages):
        assert before.start < after.start <= before.end < after.end
        assert size(text[after.start : before.end]) <= overlap * bytes_per_token
    for one in passages:
        assert size(text[one.start : one.end]) <= room
    assert size(text) > room or passages == [(0, len(text))]


@pytest.mark.parametrize("sentence", [ENGLISH, *SENTENCES.values()], ids=["English", *SENTENCES])
def test_passages_end_where_a_sentence_does(sentence):
    text = sentence * 20
    passages, _ = cut(text, LIMITS._replace(passages=100), bytes_per_token=4.0)
    ends = {text[: one.end].rstrip()[-1] for one in passages}
    assert len(passages) > 3
    assert ends <= set(".!?。！？؟۔।።」"), ends


def test_overlaps_begin_where_a_word_does_and_are_about_as_long_as_asked():
    text = ENGLISH * 40
    passages, _ = cut(text, LIMITS, bytes_per_token=4.0)
    for before, after in pairwise(passages):
        assert 16 <= before.end - after.start <= 32
        assert text[after.start - 1].isspace()
        assert not text[after.start].isspace()


def test_an_endless_sentence_is_cut_between_words_and_an_endless_word_between_characters():
    words, letters = "word " * 500, "x" * 2500
    for text in (words, letters):
        passages, dropped = cut(text, LIMITS, bytes_per_token=4.0)
        assert len(passages) == 10
        assert dropped
    assert all(words[one.end - 1] == " " for one in cut(words, LIMITS, bytes_per_token=4.0).passages)


@pytest.mark.parametrize("character", ["e\u0301", "👩\u200d👩\u200d👧", "🇩🇪", "👍🏽", "ข้", "क्"], ids=ascii)
@pytest.mark.parametrize("overlap", [0, 7])
def test_what_reads_as_one_character_stays_whole(character, overlap):
    text = character * 300
    limits = PassageLimits(tokens=40, overlap_tokens=overlap, passages=100)
    for shift in range(4):
        passages, _ = cut("x" * shift + text, limits, bytes_per_token=2.7)
        assert len(passages) > 1
        assert {(place - shift) % len(character) for one in passages for place in one if place} == {0}


def test_a_character_of_endless_parts_is_cut_all_the_same():
    passages, _ = cut("e" + "\u0301" * 5000, LIMITS, bytes_per_token=4.0)
    assert len(passages) == 10


def test_passages_are_about_equally_long_and_none_is_a_short_rest():
    text = ENGLISH * 3
    passages, _ = cut(text, LIMITS, bytes_per_token=len(text) / 55)
    sizes = [one.end - one.start for one in passages]
    assert len(sizes) == 2
    assert min(sizes) > 0.6 * max(sizes)


def test_what_is_beyond_the_most_passages_is_dropped_and_counted():
    text = ENGLISH * 100
    few = cut(text, LIMITS._replace(passages=3), bytes_per_token=4.0)
    everything = cut(text, LIMITS._replace(passages=10_000), bytes_per_token=4.0)
    assert everything.dropped == 0
    assert len(few.passages) == 3
    assert len(few.passages) + few.dropped == pytest.approx(len(everything.passages), rel=0.25)


@given(text=TEXTS, overlap=st.integers(0, 100), bytes_per_token=st.sampled_from([1.0, 2.7, 4.0]))
def test_all_passages_together_are_no_longer_than_four_documents(text, overlap, bytes_per_token):
    limits = PassageLimits(LEAST_TOKENS, overlap, 1000)
    passages, _ = cut(text, limits, bytes_per_token=bytes_per_token)
    assert sum(size(text[one.start : one.end]) for one in passages) <= 4 * size(text)


def test_a_document_a_thousand_times_as_long_costs_no_more_to_cut():
    def seconds(text: str) -> float:
        began = perf_counter()
        cut(text, PassageLimits(500, 32, 10), bytes_per_token=4.0)
        return perf_counter() - began

    short, long = ENGLISH * 240, ENGLISH * 12_000
    assert min(seconds(long) for _ in range(5)) < 5 * min(seconds(short) for _ in range(5)) + 0.002


@pytest.mark.parametrize(
    "text", ["." * 100_000, " " * 100_000, "\n" * 100_000, '."' * 50_000, "。" * 50_000], ids=ascii
)
def test_no_text_makes_the_search_for_an_end_slow(text):
    began = perf_counter()
    cut(text, PassageLimits(500, 32, 100), bytes_per_token=4.0)
    assert perf_counter() - began < 1


# --- scores ---


@given(st.integers(0, 10_000))
def test_a_document_has_the_score_of_its_best_passage_and_its_place(seed):
    chance = Random(seed)
    documents = [chance.choice(["short", ENGLISH * chance.randint(3, 20)]) for _ in range(chance.randint(1, 8))]
    cuts = {place: cut(one, LIMITS, bytes_per_token=4.0) for place, one in enumerate(documents) if len(one) > 200}
    made = with_passages(Pairs(["q"], documents), cuts)
    scores = [chance.choice([0.1, 0.5, chance.random()]) for _ in made.pairs.documents]
    answer = made.by_document(Answer(scores, 7))
    assert answer.tokens == 7
    report = answer.by_passage
    assert report is not None
    begin = 0
    for place, document in enumerate(documents):
        own = cuts[place].passages if place in cuts else [Passage(0, len(document))]
        of_it = scores[begin : begin + len(own)]
        assert made.pairs.documents[begin : begin + len(own)] == [document[slice(*one)] for one in own]
        assert answer.scores[place] == max(of_it)
        assert report.best[place] == own[of_it.index(max(of_it))]
        begin += len(own)
    assert begin == len(scores)
    assert (report.cut, report.scored) == (len(cuts), sum(len(one.passages) for one in cuts.values()))
    assert report.dropped == sum(one.dropped for one in cuts.values())


def test_queries_of_their_own_go_with_every_passage():
    text = ENGLISH * 10
    one = cut(text, LIMITS, bytes_per_token=4.0)
    made = with_passages(Pairs(["a", "b"], [text, "short"]), {0: one})
    assert made.pairs.queries == ["a"] * len(one.passages) + ["b"]
    assert made.pairs.documents[-1] == "short"


def test_a_document_is_refused_with_any_of_its_passages():
    text = ENGLISH * 10
    made = with_passages(Pairs(["q"], ["a", text, "b"]), {1: cut(text, LIMITS, bytes_per_token=4.0)})
    refusal = ContentRejected("it is bad")
    scores = [0.5] * len(made.pairs)
    scores[2] = math.nan
    answer = made.by_document(Answer(scores, 1, {2: refusal}))
    assert answer.refused == {1: refusal}
    assert answer.scores[0] == answer.scores[2] == 0.5
