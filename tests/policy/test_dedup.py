from hypothesis import given
from hypothesis import strategies as st

from app.policy.dedup import dedup
from app.types import Pairs

FEW = st.sampled_from(["", "a", "b", "ab", "c"])
NAMES = st.lists(FEW | st.tuples(FEW, FEW), min_size=1)


@given(NAMES)
def test_each_name_is_found_again_at_its_position(names):
    distinct, positions = dedup(names)
    assert [names[distinct[position]] for position in positions] == names


@given(NAMES)
def test_each_distinct_name_is_left_once_where_it_stands_first(names):
    distinct, _ = dedup(names)
    assert [names[index] for index in distinct] == list(dict.fromkeys(names))
    assert list(distinct) == [names.index(names[index]) for index in distinct]


def test_pairs_that_join_to_the_same_text_are_told_apart():
    distinct, _ = dedup(Pairs(["ab", "a"], ["c", "bc"]).texts())
    assert len(distinct) == 2


def test_documents_that_share_a_query_are_told_apart_by_themselves():
    assert Pairs(["q"], ["a", "b"]).texts() == ["a", "b"]
