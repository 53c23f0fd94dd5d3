"""The measurements of one worker, which the runs make and the verdict judges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.tools.verify.compare import Comparison, Scores


@dataclass(frozen=True, slots=True)
class Split:
    """The sample split into chunks of one size.

    Args:
        comparison: Comparison with the unsplit scores; of several rounds the one with the largest difference.
        documents_per_s: Speed of each round.
    """

    comparison: Comparison
    documents_per_s: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One worker's scores of the sample in every way, compared with its first unsplit ones.

    Args:
        worker: Its name.
        unsplit: The scores of each list in one call.
        repeated: The same calls again: the model's own noise.
        shuffled: The same lists in another order.
        neighbours: The same lists with other texts in the odd places, compared in the even ones: of several tries the
            one with the smallest difference. None when that couldn't be tried.
        alone: The first documents of each list in calls of their own.
        splits: By documents per call, rising.
    """

    worker: str
    unsplit: Scores
    repeated: Comparison
    shuffled: Comparison
    neighbours: Comparison | None
    alone: Comparison
    splits: Mapping[int, Split]

    @property
    def noise(self) -> float:
        """The largest difference between repeats."""
        return self.repeated.largest

    @property
    def splitting(self) -> float:
        """The largest difference that splitting made, into chunks of any size."""
        return max(self.alone.largest, *(split.comparison.largest for split in self.splits.values()))

    @property
    def scale(self) -> float:
        """The scale for differences: precision is relative to the largest score, once that is above 1."""
        return max(1.0, *(abs(score) for scores in self.unsplit for score in scores))
