"""Faults of what pairs are known by, and of the cache."""

from collections.abc import Sequence
from typing import Any

import app.cache.memory_tier
import app.cache.score_cache
import app.policy.pair_digest
from tests.simulation.faults.planted import Planted


def _digest_without_query(right: Any) -> Any:
    return lambda started, query: right(started, "" if query else query)


def _digest_without_weights(_: Any) -> Any:
    return lambda _, fingerprint: fingerprint._replace(probe_scores="")


def _evicted_pair_is_found(_: Any) -> Any:
    def replace(memory: Any, digests: Sequence[bytes], scores: Sequence[float], expiry: int) -> None:
        tables, count = memory._tables, len(memory._tables)
        for digest, score in zip(digests, scores, strict=True):
            place = memory._next_to_evict()
            tables[hash(digest) % count][digest] = place
            memory._digests[place], memory._scores[place], memory._expiries[place] = digest, score, expiry
            memory._probation.append(place)

    return replace


FAULTS: dict[str, Planted] = {
    "digest-without-query": Planted(
        "a pair is known by its document alone", app.policy.pair_digest, "_with", _digest_without_query
    ),
    "digest-without-weights": Planted(
        "cached scores of old weights are given out for new ones",
        app.cache.score_cache.ScoreCache,
        "_agreed",
        _digest_without_weights,
    ),
    "evicted-pair-is-found": Planted(
        "a pair that had to leave the cache is still found, with another's score",
        app.cache.memory_tier.MemoryTier,
        "_replace",
        _evicted_pair_is_found,
    ),
}
