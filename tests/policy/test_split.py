from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from app.policy.split import split

TOKENS = st.lists(st.integers(1, 3000), min_size=1, max_size=300)
LIMITS = st.fixed_dictionaries(
    {
        "workers": st.integers(1, 8),
        "max_batch": st.integers(1, 80),
        "max_batch_tokens": st.integers(1, 20_000),
        "min_batch": st.integers(1, 32),
    }
)
LOOSE = {"max_batch": 64, "max_batch_tokens": 10**9, "min_batch": 16}


@given(TOKENS, LIMITS)
def test_every_document_stands_in_exactly_one_piece(tokens, limits):
    pieces = split(tokens, **limits)
    assert sorted(index for piece in pieces for index in piece) == list(range(len(tokens)))


@given(TOKENS, LIMITS)
def test_no_piece_is_empty_and_each_keeps_the_order_of_the_documents(tokens, limits):
    pieces = split(tokens, **limits)
    assert all(pieces)
    assert all(list(piece) == sorted(piece) for piece in pieces)


@given(TOKENS, LIMITS)
def test_no_piece_passes_the_limits_unless_one_document_does_so_alone(tokens, limits):
    for piece in split(tokens, **limits):
        assert len(piece) <= limits["max_batch"]
        assert len(piece) == 1 or sum(tokens[index] for index in piece) <= limits["max_batch_tokens"]


@given(TOKENS, st.integers(1, 8), st.integers(1, 64))
def test_idle_workers_get_pieces_only_as_long_as_each_keeps_the_minimum(tokens, workers, min_batch):
    pieces = split(tokens, workers=workers, max_batch=64, max_batch_tokens=10**9, min_batch=min_batch)
    assert len(pieces) <= max(ceil(len(tokens) / 64), len(tokens) // min_batch, 1)


@given(st.lists(st.integers(1, 500), min_size=2, max_size=300), st.integers(1, 8))
def test_pieces_differ_by_at_most_the_longest_document(tokens, workers):
    pieces = split(tokens, workers=workers, max_batch=10**6, max_batch_tokens=10**9, min_batch=1)
    loads = [sum(tokens[index] for index in piece) for piece in pieces]
    assert max(loads) - min(loads) <= max(tokens)


def test_equal_documents_make_equal_pieces_not_a_full_one_and_a_crumb():
    assert [len(piece) for piece in split([10] * 70, workers=1, **LOOSE)] == [35, 35]


def test_a_short_list_is_spread_over_the_workers():
    assert [len(piece) for piece in split([10] * 64, workers=4, **LOOSE)] == [16] * 4


def test_a_list_too_short_to_spread_stays_whole():
    assert split([10] * 31, workers=4, **LOOSE) == [range(31)]


def test_each_worker_gets_as_many_pieces_as_the_others():
    assert len(split([10] * 300, workers=4, **LOOSE)) == 8


def test_a_giant_gets_a_piece_of_its_own_and_the_rest_stays_together():
    pieces = split([5000] + [10] * 63, workers=1, max_batch=64, max_batch_tokens=1000, min_batch=16)
    assert sorted(map(len, pieces)) == [1, 63]


def test_a_piece_may_be_as_heavy_as_the_limit():
    assert len(split([500] * 4, workers=1, max_batch=64, max_batch_tokens=1000, min_batch=16)) == 2
