from hypothesis import given
from hypothesis import strategies as st

from app.policy.fold import fold
from app.work import Pairs

FEW = st.sampled_from(["", "a", "b", "ab", "c"])
ONE_QUERY = st.builds(lambda documents: Pairs(["q"], documents), st.lists(FEW, min_size=1))
MANY_QUERIES = st.lists(st.tuples(FEW, FEW), min_size=1).map(
    lambda pairs: Pairs([query for query, _ in pairs], [document for _, document in pairs])
)


def _as_tuples(pairs: Pairs) -> list[tuple[str, str]]:
    queries = list(pairs.queries) * (len(pairs) if len(pairs.queries) == 1 else 1)
    return list(zip(queries, pairs.documents, strict=True))


@given(ONE_QUERY | MANY_QUERIES)
def test_each_pair_is_found_again_at_its_position(pairs):
    distinct, positions = fold(pairs)
    folded = _as_tuples(distinct)
    assert [folded[position] for position in positions] == _as_tuples(pairs)


@given(ONE_QUERY | MANY_QUERIES)
def test_no_pair_is_left_twice(pairs):
    folded = _as_tuples(fold(pairs)[0])
    assert len(set(folded)) == len(folded) == len(set(_as_tuples(pairs)))


def test_pairs_that_join_to_the_same_text_stay_two():
    distinct, _ = fold(Pairs(["ab", "a"], ["c", "bc"]))
    assert len(distinct) == 2
