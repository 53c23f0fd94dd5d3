"""A suspicion against a model: the likeliest cause of what its check found, and the option that mends it."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.policy.check_verdict import CheckResult, Reason
from app.policy.truncate import Truncation
from app.types import Fingerprint

_YES_OR_NO = (
    '{"architectures":["Qwen3ForSequenceClassification"],"classifier_from_token":["no","yes"],'
    '"is_original_qwen3_reranker":true}'
)
_MXBAI = (
    '{"architectures":["Qwen2ForSequenceClassification"],"classifier_from_token":["0","1"],'
    '"method":"from_2_way_softmax"}'
)
_GEMMA = (
    '{"architectures":["GemmaForSequenceClassification"],"classifier_from_token":["Yes"],"method":"no_post_processing"}'
)
# What each family needs, by a part of its name; the first that fits.
_OPTIONS: Mapping[str, str] = {
    "qwen3-reranker": f"--hf-overrides '{_YES_OR_NO}' --chat-template qwen3_reranker.jinja",
    "mxbai-rerank": f"--hf-overrides '{_MXBAI}' --chat-template mxbai_rerank_v2.jinja",
    "bge-reranker-v2-gemma": f"--hf-overrides '{_GEMMA}' --chat-template bge-reranker-v2-gemma.jinja",
}
_ANY_OPTIONS = "--chat-template FILE and --hf-overrides as docs/vllm.md has them"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Why a model seems to be served wrongly.

    Args:
        reason: For programs.
        seen: What the check saw.
        cause: The likeliest cause.
        fix: What to do, with the exact option.
    """

    reason: Reason
    seen: str
    cause: str
    fix: str


def suspicion_of(result: CheckResult, fingerprint: Fingerprint, *, used: Truncation) -> Suspicion | None:
    """The suspicion that a result raises; None when it raises none.

    Args:
        result: Of the model's check.
        fingerprint: Its name and path tell which options it needs.
        used: How long texts are cut for it.
    """
    options = next((flags for part, flags in _OPTIONS.items() if part in _names(fingerprint)), _ANY_OPTIONS)
    match result.suspicion:
        case None:
            return None
        case "not_finite":
            seen = "a score is NaN or infinite"
            return Suspicion("not_finite", seen, "float16 overflows", "start vLLM with --dtype float32 or bfloat16")
        case "truncation":
            other = "document" if used == "pair" else "pair"
            setting = f"""RERANK_MODELS='{{"{fingerprint.model}": {{"truncation": "{other}"}}}}'"""
            return Suspicion("truncation", f"long texts cut as `{used}` get nonsense", "the setting", f"set {setting}")
        case "constant":
            seen, cause = "all texts score alike", "no scoring head in the checkpoint, or no chat template"
            return Suspicion("constant", seen, cause, f"start vLLM with {options}")
        case "order":
            lost = result.asked - result.kept
            seen = f"irrelevant texts come first in {lost} of {result.asked} English queries"
            cause = "no chat template, or the original instead of the converted checkpoint"
            return Suspicion("order", seen, cause, f"start vLLM with {options}")


def _names(fingerprint: Fingerprint) -> str:
    return f"{fingerprint.model} {fingerprint.root}".lower()
