"""The pair cache between requests and its tiers: lifetimes, flushes, what is counted."""

from dataclasses import dataclass

import pytest

from app.cache.agreed import Generations, Weights, merge
from app.cache.memory import BYTES_PER_PAIR, MemoryTier
from app.cache.pairs import PairCache
from app.metrics import Metrics
from app.work import CacheUse, Caller, Chunk, Fingerprint, Pairs, Tally

MARK = Fingerprint("m", "/models/m", 512, "1", "")
TTL_S = 60


@dataclass
class Clock:
    now: float = 1_700_000_000.5

    def __call__(self) -> float:
        return self.now


def _cache(clock: Clock, *, metrics: Metrics | None = None, room: int = 100) -> PairCache:
    return PairCache(
        memory=MemoryTier(room * BYTES_PER_PAIR),
        shared=None,
        generations=Generations(),
        weights=Weights(),
        secret=b"s",
        ttl_s=TTL_S,
        shares_keys=False,
        metrics=metrics or Metrics(),
        clock=clock,
    )


def _chunk(cache: PairCache, documents: list[str], use: CacheUse = "default") -> Chunk:
    pairs, caller = Pairs(["q"], documents), Caller(key="k", request_id="r", deadline=0, cache=use)
    tokens = [1] * len(pairs)
    return Chunk(
        pairs=pairs,
        fingerprint=MARK,
        fields={},
        pair_tokens=tokens,
        caller=caller,
        tokens=len(pairs),
        digests=cache.digests(pairs, MARK, {}, caller),
    )


def _count(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


async def test_scores_are_known_for_the_time_to_live_and_not_longer():
    clock = Clock()
    cache = _cache(clock)
    cache.store(_chunk(cache, ["a"]), [0.5])
    clock.now += TTL_S - 1
    assert await cache.lookup(_chunk(cache, ["a", "b"]), Tally()) == [0.5, None]
    clock.now += 1
    assert await cache.lookup(_chunk(cache, ["a", "b"]), Tally()) == [None, None]


@pytest.mark.parametrize(("use", "found"), [("default", 0.5), ("no-cache", None), ("no-store", None)])
async def test_only_who_wants_it_reads(use: CacheUse, found: float | None):
    cache = _cache(Clock())
    cache.store(_chunk(cache, ["a"]), [0.5])
    assert await cache.lookup(_chunk(cache, ["a"], use), Tally()) == [found]


@pytest.mark.parametrize(("use", "kept"), [("default", 1), ("no-cache", 1), ("no-store", 0)])
def test_only_who_wants_it_writes(use: CacheUse, kept: int):
    cache = _cache(Clock())
    cache.store(_chunk(cache, ["a"], use), [0.5])
    assert len(cache.memory) == kept


async def test_hits_and_evictions_are_counted():
    metrics = Metrics()
    cache = _cache(Clock(), metrics=metrics, room=2)
    cache.store(_chunk(cache, ["a", "b"]), [0.5, 0.25])
    tally = Tally()
    await cache.lookup(_chunk(cache, ["a", "b", "c"]), tally)
    cache.store(_chunk(cache, ["c"]), [0.125])
    assert tally.cache_hits == 2
    assert tally.cache_s > 0
    assert _count(metrics, "rerank_documents_total", source="memory") == 2
    assert _count(metrics, "rerank_cache_evictions_total") == 1


def test_each_flush_begins_a_generation_even_within_a_millisecond_or_after_the_clock_was_set_back():
    generations = Generations()
    seen = [generations.of("m")]
    for now in (1_700_000_000.0, 1_700_000_000.0, 1_600_000_000.0, 1_700_000_001.0):
        generations.flush("m", now)
        seen.append(generations.of("m"))
    assert seen == sorted(set(seen))
    assert generations.of("other") == 0


def test_of_two_replicas_generations_the_newer_ones_stay_and_older_ones_are_told():
    generations = Generations()
    generations.flush("here", 5)
    generations.flush("both", 5)
    assert generations.merge({"there": 3000, "both": 7000}) == {"here": 5000}
    assert [generations.of(model) for model in ("here", "there", "both")] == [5000, 3000, 7000]
    assert generations.merge({"here": 5000, "there": 3000, "both": 6000}) == {"both": 7000}


def test_replicas_agree_on_one_name_for_weights_whose_scores_hardly_differ():
    one, other = Weights(), Weights()
    assert one.name("0.50,0.10") == "0.50,0.10"
    assert other.name("0.51,0.13") == "0.51,0.13"
    assert other.merge(one.merge(other.merge(()))) == {"0.51,0.13"}
    assert one.merge({"0.50,0.10", "0.51,0.13"}) == set()
    assert {one.name("0.50,0.10"), other.name("0.51,0.13")} == {"0.50,0.10"}


def test_a_name_that_comes_later_is_agreed_on_by_all_that_can_mean_the_same():
    one, other = Weights(), Weights()
    assert one.name("0.51") == "0.51"
    assert one.name("0.50") == "0.50"
    other.merge(one.merge(()))
    assert one.name("0.51") == other.name("0.51") == "0.50"


def test_other_weights_keep_a_name_of_their_own():
    weights = Weights()
    weights.merge({"0.50,0.10", "of another release"})
    assert weights.name("0.90,0.70") == "0.90,0.70"
    assert weights.name("") == ""


def test_generations_and_weights_are_written_down_together():
    generations, weights = Generations(), Weights()
    generations.flush("m", 5)
    weights.name("0.50")
    written = merge(generations, weights, {})
    late_generations, late_weights = Generations(), Weights()
    late_weights.name("0.52")
    added = merge(late_generations, late_weights, written)
    assert late_generations.of("m") == 5000
    assert late_weights.name("0.52") == "0.50"
    assert list(added.values()) == [1]
    assert merge(generations, weights, {**written, **added}) == {}
