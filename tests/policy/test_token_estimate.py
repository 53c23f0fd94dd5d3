from hypothesis import given
from hypothesis import strategies as st

from app.policy.token_estimate import image_tokens, likely_tokens, most_tokens, pair_tokens
from app.types import Content, Image, Pairs


@given(st.text())
def test_the_bound_counts_utf8_bytes(text):
    assert most_tokens(text) == len(text.encode())


@given(st.text())
def test_no_estimate_is_below_one_or_above_the_bound_of_a_longer_text(text):
    assert 1 <= likely_tokens([text])[0] <= most_tokens(text) + 1


def test_english_prose_is_estimated_at_four_bytes_a_token():
    assert likely_tokens(["The capital of France is Paris. " * 10, "Paris"]) == [81, 2]


def test_characters_of_other_scripts_count_as_many_bytes_as_they_have():
    assert likely_tokens(["北京是中国的首都。", "é" * 8]) == [7, 5]


def content(*texts: str, tokens: int = 100, chars: int = 100) -> Content:
    return Content((*texts, Image("x" * chars, b"", tokens)))


def test_an_image_counts_beside_the_text_it_stands_with():
    assert likely_tokens([content(), content("a" * 400), content("a" * 200, "b" * 199)]) == [101, 201, 201]
    assert most_tokens(content("äb", "c")) == 5
    assert image_tokens("a") == 0
    assert image_tokens(content("a", tokens=7)) == 7


def test_a_pair_with_an_image_counts_for_the_bytes_that_its_document_has_beyond_what_the_model_reads():
    light, heavy = content(tokens=100), content(tokens=100, chars=256 * 2000 + 255)
    assert pair_tokens(Pairs(["q"], ["a", light, heavy]), 1000) == [7, 107, 2000]
    assert pair_tokens(Pairs(["q"], ["a", light, heavy]), 50) == [7, 50, 2000]
    # A query goes out once per call, whatever it has.
    assert pair_tokens(Pairs([heavy], ["a"]), 1000) == [107]
    assert pair_tokens(Pairs([heavy, "q"], ["a", heavy]), 1000) == [107, 2000]
