import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.score_scale import Scaling, scaling_of, sigmoid
from app.types import ScoreScale

# Logits of a reranker, best first, as far apart as they are among the best documents of a search.
LOGITS = [9.25, 8.5, 7.75, 7.0, 6.5, 5.0, -3.0, -11.0]


def in_bfloat16(number: float) -> float:
    """The nearest bfloat16: the upper half of a float32."""
    (bits,) = struct.unpack("<I", struct.pack("<f", number))
    return float(struct.unpack("<f", struct.pack("<I", (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000))[0])


def test_a_sigmoid_in_bfloat16_makes_the_best_documents_equal_and_ours_keeps_them_apart():
    coarse = [in_bfloat16(1 / (1 + math.exp(-logit))) for logit in LOGITS]
    assert coarse[:5] == [1.0] * 5
    fine = [sigmoid(logit) for logit in LOGITS]
    assert fine == sorted(set(fine), reverse=True)


@given(st.floats(-36, 36), st.floats(-36, 36))
def test_the_order_of_raw_scores_is_that_of_their_sigmoids(one: float, other: float):
    assert (sigmoid(one) <= sigmoid(other)) or one > other
    assert 0 < sigmoid(one) < 1


@pytest.mark.parametrize(
    ("raw", "expected"),
    [(0.0, 0.5), (2.0, 1 / (1 + math.exp(-2))), (-2.0, 1 / (1 + math.exp(2))), (3.4e38, 1.0), (-3.4e38, 0.0)],
)
def test_a_sigmoid_is_exact_and_overflows_nowhere(raw: float, expected: float):
    assert sigmoid(raw) == pytest.approx(expected, rel=1e-15, abs=0)


def test_a_sigmoid_of_a_very_low_score_is_above_zero_as_milvus_needs_it():
    assert sigmoid(-700) > 0


@pytest.mark.parametrize(
    ("of_model", "normalize", "sent", "expected"),
    [
        ("probability", "none", {}, Scaling("probability")),
        ("probability", "none", {"use_activation": True}, Scaling("probability")),
        ("probability", "none", {"use_activation": False}, Scaling("logit")),
        ("probability", "sigmoid", {}, Scaling("probability", is_sigmoid=True)),
        ("probability", "sigmoid", {"use_activation": True}, Scaling("probability", is_sigmoid=True)),
        ("probability", "sigmoid", {"use_activation": False}, Scaling("logit")),
        ("logit", "none", {}, Scaling("logit")),
        ("logit", "none", {"use_activation": False}, Scaling("logit")),
        ("logit", "sigmoid", {}, Scaling("probability", is_sigmoid=True)),
        # vLLM takes the cosine of embeddings, whose length doesn't matter.
        ("cosine", "none", {"use_activation": False}, Scaling("cosine")),
        ("cosine", "sigmoid", {}, Scaling("probability", is_sigmoid=True)),
        ("maxsim", "none", {"use_activation": False}, Scaling("maxsim")),
        ("maxsim", "sigmoid", {}, Scaling("maxsim")),
    ],
)
def test_the_scale_follows_from_the_model_the_operator_and_the_request(
    of_model: ScoreScale, normalize: Any, sent: dict[str, Any], expected: Scaling
):
    assert scaling_of(of_model, normalize, sent) == expected


def test_only_for_a_sigmoid_is_the_worker_asked_for_other_scores_than_the_client_asked_for():
    sent = {"use_activation": True, "max_tokens_per_doc": 9}
    assert Scaling("probability").fields(sent) == sent
    assert Scaling("probability", is_sigmoid=True).fields(sent) == {"use_activation": False, "max_tokens_per_doc": 9}
    assert Scaling("probability").apply([2.0, -1.0]) == [2.0, -1.0]
    assert Scaling("probability", is_sigmoid=True).apply([2.0, -1.0]) == [sigmoid(2.0), sigmoid(-1.0)]
