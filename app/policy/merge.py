"""Merging: the scores of parts go back to where their pairs stood."""

import math
from collections.abc import Iterable, Sequence

from app.errors import WorkerError
from app.types import Answer

# Places of pairs, and the scores of the pairs there.
Part = tuple[Sequence[int], Answer]


def merge(parts: Iterable[Part], size: int) -> Answer:
    """One answer for `size` pairs.

    Args:
        parts: The places of some pairs, and their answer; every place from 0 to `size` - 1 stands in one part.
        size: Pairs in all.
    """
    parts = list(parts)
    if len(parts) == 1 and parts[0][0] == range(size) == range(len(parts[0][1].scores)):
        return parts[0][1]
    scores, tokens = [math.nan] * size, 0
    refused: dict[int, WorkerError] = {}
    for places, answer in parts:
        for place, score in zip(places, answer.scores, strict=True):
            scores[place] = score
        tokens += answer.tokens
        refused |= {places[place]: error for place, error in answer.refused.items()}
    return Answer(scores, tokens, refused)


def expand(answer: Answer, positions: Sequence[int]) -> Answer:
    """The answer for all pairs from the answer for distinct ones: pair i has the score at `positions[i]`."""
    if positions == range(len(answer.scores)):
        return answer
    refused = {index: answer.refused[place] for index, place in enumerate(positions) if place in answer.refused}
    return Answer([answer.scores[place] for place in positions], answer.tokens, refused)
