"""Ranking: results are given best first."""

from collections.abc import Sequence


def rank(scores: Sequence[float], top_n: int | None) -> list[int]:
    """Indices of the best documents: falling score, ties by rising index.

    Args:
        scores: Finite scores by document.
        top_n: Results wanted; None or more than there are means all.
    """
    # reverse=True keeps the sort stable, so equal scores stay in input order, as vLLM's own sort does.
    return sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:top_n]
