from hypothesis import given
from hypothesis import strategies as st

from app.policy.rank import rank

SCORES = st.lists(st.sampled_from([0.0, -0.0, 0.1, 0.5, -2.0, 1e300]), min_size=1, max_size=50)


@given(SCORES)
def test_scores_fall_and_ties_keep_the_order_of_the_documents(scores):
    order = rank(scores, None)
    assert order == sorted(range(len(scores)), key=lambda index: (-scores[index], index))


@given(SCORES, st.integers(1, 60))
def test_top_n_is_the_beginning_of_the_whole_ranking(scores, top_n):
    assert rank(scores, top_n) == rank(scores, None)[:top_n]
