"""The scale of a model's scores: what the worker is asked for, and what becomes of its answer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.types import ScoreScale

Normalize = Literal["none", "sigmoid"]


@dataclass(frozen=True, slots=True)
class Scaling:
    """The way to one request's scores.

    Args:
        scale: Of the scores that the client gets.
        is_sigmoid: Whether the worker is asked for raw scores, of which the client gets the sigmoid.
    """

    scale: ScoreScale
    is_sigmoid: bool = False

    def fields(self, sent: Mapping[str, Any]) -> Mapping[str, Any]:
        """The fields for the worker: those that the client sent, and the wish for raw scores."""
        return {**sent, "use_activation": False} if self.is_sigmoid else sent

    def apply(self, scores: Sequence[float]) -> Sequence[float]:
        """The client's scores, from the worker's."""
        return [*map(sigmoid, scores)] if self.is_sigmoid else scores


def scaling_of(of_model: ScoreScale, normalize: Normalize, sent: Mapping[str, Any]) -> Scaling:
    """The way to the scores of a request.

    Args:
        of_model: What the model's scores are when nobody asks for raw ones.
        normalize: What the operator wants. Of `maxsim` no sigmoid is taken: beyond 37 it is 1, whatever the score, and
            raw scores of these models aren't the same sum.
        sent: The request's fields. Its own wish for raw scores wins.
    """
    wants_raw = sent.get("use_activation") is False
    if normalize == "sigmoid" and of_model != "maxsim" and not wants_raw:
        return Scaling("probability", is_sigmoid=True)
    # vLLM ignores the wish where a score is a cosine; a sum of tokens' maxima remains one.
    return Scaling("logit" if wants_raw and of_model == "probability" else of_model)


def sigmoid(score: float) -> float:
    """The number between 0 and 1 for a raw score: it rises with it, and depends on nothing else.

    In float64, as here, it is 1 for scores above 37; in a worker's float32 for those above 17, in bfloat16 for those
    above 6: documents that the model ranks one above the other become equal.
    """
    # Either way nothing overflows.
    if score >= 0:
        return 1 / (1 + math.exp(-score))
    power = math.exp(score)
    return power / (1 + power)
