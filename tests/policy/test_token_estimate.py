from hypothesis import given
from hypothesis import strategies as st

from app.policy.token_estimate import likely_tokens, most_tokens


@given(st.text())
def test_the_bound_counts_utf8_bytes(text):
    assert most_tokens(text) == len(text.encode())


@given(st.text())
def test_no_estimate_is_below_one_or_above_the_bound_of_a_longer_text(text):
    assert 1 <= likely_tokens([text])[0] <= most_tokens(text) + 1


def test_english_prose_is_estimated_at_four_bytes_a_token():
    assert likely_tokens(["The capital of France is Paris. " * 10, "Paris"]) == [81, 2]
