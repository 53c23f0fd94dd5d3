import pytest

from app.policy.check_verdict import CheckResult, Reason
from app.policy.suspicion import suspicion_of
from app.types import Fingerprint

# As long as names usually are.
QWEN = Fingerprint("qwen3-reranker", "Qwen/Qwen3-Reranker-0.6B", 8192, "0.32.0", "")


@pytest.mark.parametrize(
    ("reason", "seen", "fix"),
    [
        ("order", "5 of 8 English queries", "--chat-template qwen3_reranker.jinja"),
        (
            "constant",
            "all texts score alike",
            """--hf-overrides '{"architectures":["Qwen3ForSequenceClassification"]""",
        ),
        ("not_finite", "NaN", "--dtype float32"),
        ("truncation", "cut as `pair`", """RERANK_MODELS='{"qwen3-reranker": {"truncation": "document"}}'"""),
    ],
)
def test_each_reason_has_what_was_seen_and_the_exact_option(reason: Reason, seen: str, fix: str):
    suspicion = suspicion_of(CheckResult(suspicion=reason, kept=3, asked=8), QWEN, used="pair")
    assert suspicion
    assert suspicion.reason == reason
    assert seen in suspicion.seen
    assert fix in suspicion.fix
    assert suspicion.cause
    # Room for the model's name: an error has 299 characters.
    assert len(f"{suspicion.seen}; {suspicion.fix}") < 270


@pytest.mark.parametrize(
    ("root", "options"),
    [
        ("mixedbread-ai/mxbai-rerank-base-v2", "mxbai_rerank_v2.jinja"),
        ("BAAI/bge-reranker-v2-gemma", "bge-reranker-v2-gemma.jinja"),
        ("/models/of-ours", "docs/vllm.md"),
    ],
)
def test_the_options_are_those_of_the_models_family(root: str, options: str):
    suspicion = suspicion_of(CheckResult(suspicion="order", asked=8), QWEN._replace(model="m", root=root), used="pair")
    assert suspicion
    assert options in suspicion.fix


def test_where_documents_are_cut_to_nonsense_pairs_are_to_be_cut():
    suspicion = suspicion_of(CheckResult(suspicion="truncation"), QWEN, used="document")
    assert suspicion
    assert suspicion.fix == """set RERANK_MODELS='{"qwen3-reranker": {"truncation": "pair"}}'"""


def test_a_right_model_is_not_suspect():
    assert suspicion_of(CheckResult(kept=4, asked=4), QWEN, used="pair") is None
