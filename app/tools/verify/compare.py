"""The comparison of two scorings of the same documents, by scores and by rankings."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import comb, sqrt
from typing import NamedTuple

from app.policy.rank import rank

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
        mean=sum(gaps) / len(gaps),
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
    """The number of pairs whose earlier value is the larger one, counted while merging sorted runs."""
    runs = [[value] for value in values]
    count = 0
    while len(runs) > 1:
        merged = []
        for at in range(0, len(runs) - 1, 2):
            run, found = _merged(runs[at], runs[at + 1])
            merged.append(run)
            count += found
        runs = merged + runs[len(runs) // 2 * 2 :]
    return count


def _merged(left: Sequence[float], right: Sequence[float]) -> tuple[list[float], int]:
    """Two sorted runs merged into one, and the number of pairs of left and right values in the wrong order."""
    merged: list[float] = []
    inversions = at = 0
    for value in right:
        while at < len(left) and left[at] <= value:
            merged.append(left[at])
            at += 1
        inversions += len(left) - at
        merged.append(value)
    return merged + list(left[at:]), inversions
