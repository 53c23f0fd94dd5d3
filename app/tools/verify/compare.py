"""Comparisons of two scorings of the same documents, by scores and by rankings, and all of them that one worker has."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import fmean
from typing import NamedTuple

from app.policy.rank import rank
from app.types import Fingerprint

# The scores of several lists of documents, each in the order of its documents.
Scores = Sequence[Sequence[float]]
_TOP = 10


class Comparison(NamedTuple):
    """The differences between two scorings of the same lists.

    Args:
        documents: Number of documents in all lists.
        largest: The largest difference between two scores of a document.
        mean: The mean of these differences.
        pairs: Number of pairs of documents of one list, in all lists.
        swaps: Pairs that stand in the other order in the other ranking.
        top_10: Documents that are no longer among the first ten of their list.
        tau: Kendall's tau-b of the list where it is lowest; 1 is the same order, 0 is none in common.
    """

    documents: int
    largest: float
    mean: float
    pairs: int
    swaps: int
    top_10: int
    tau: float


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
        fingerprint: The model, as it serves it.
        unsplit: The scores of each list in one call.
        repeated: The same calls again: the model's own noise.
        shuffled: The same lists in another order.
        neighbours: The same lists with other texts in the odd places, compared in the even ones: of several tries the
            one with the smallest difference. None when that couldn't be tried.
        alone: The first documents of each list in calls of their own.
        splits: By documents per call, rising.
    """

    worker: str
    fingerprint: Fingerprint
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


def compare(reference: Scores, other: Scores) -> Comparison:
    """The differences of `other` from `reference`.

    Args:
        reference: At least one list, none of them empty.
        other: Scores of the same documents in the same places.
    """
    lists = list(zip(reference, other, strict=True))
    gaps = [abs(a - b) for one, two in lists for a, b in zip(one, two, strict=True)]
    return Comparison(
        documents=len(gaps),
        largest=max(gaps),
        mean=fmean(gaps),
        pairs=sum(comb(len(one), 2) for one, _ in lists),
        swaps=sum(_swaps(one, two) for one, two in lists),
        top_10=sum(len(set(rank(one, _TOP)) - set(rank(two, _TOP))) for one, two in lists),
        tau=min(kendall_tau(one, two) for one, two in lists),
    )


def worst(comparisons: Iterable[Comparison]) -> Comparison:
    """The comparison with the largest difference."""
    return max(comparisons, key=lambda one: one.largest)


def kendall_tau(one: Sequence[float], other: Sequence[float]) -> float:
    """Kendall's tau-b in n log n (Knight 1966); where one of both has nothing but ties, 1 if both have and 0 if not."""
    pairs = comb(len(one), 2)
    tied_one, tied_other = _ties(one), _ties(other)
    tied_both = _ties(zip(one, other, strict=True))
    if pairs in {tied_one, tied_other}:
        return float(tied_one == tied_other)
    # Sorted by the first, then by the second, so that pairs tied in the first are no inversions of the second.
    discordant = _inversions([b for _, b in sorted(zip(one, other, strict=True))])
    concordant = pairs - tied_one - tied_other + tied_both - discordant
    return (concordant - discordant) / sqrt((pairs - tied_one) * (pairs - tied_other))


def _swaps(one: Sequence[float], other: Sequence[float]) -> int:
    places = {index: place for place, index in enumerate(rank(other, None))}
    return _inversions([places[index] for index in rank(one, None)])


def _ties(values: Iterable[object]) -> int:
    """The number of pairs of equal values."""
    return sum(comb(count, 2) for count in Counter(values).values())


def _inversions(values: Sequence[float]) -> int:
    """The number of pairs whose earlier value is the larger one."""
    seen: list[float] = []
    count = 0
    for value in values:
        place = bisect_right(seen, value)
        count += len(seen) - place
        seen.insert(place, value)
    return count
