"""The pair cache between requests and its tiers: lifetimes, flushes, what is counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import pytest

from app.cache.memory_tier import BYTES_PER_PAIR, MemoryTier
from app.cache.replica_sync import Generations, WeightNames
from app.cache.score_cache import ScoreCache
from app.telemetry.metrics import Metrics
from app.types import CacheUse, Chunk, Fingerprint, Pairs, RequestContext

FINGERPRINT = Fingerprint("m", "/models/m", 512, "1", "")
TTL_S = 60


@dataclass
class Clock:
    now: float = 1_700_000_000.5

    def __call__(self) -> float:
        return self.now


def _cache(clock: Clock, *, metrics: Metrics | None = None, room: int = 100) -> ScoreCache:
    return ScoreCache(
        memory=MemoryTier(room * BYTES_PER_PAIR),
        redis=None,
        generations=Generations(),
        weight_names=WeightNames(),
        secret=b"s",
        ttl_s=TTL_S,
        across_keys=False,
        metrics=metrics or Metrics(),
        clock=clock,
    )


def _chunk(cache: ScoreCache, documents: list[str], use: CacheUse = "default") -> Chunk:
    pairs, context = Pairs(["q"], documents), RequestContext(key="k", request_id="r", deadline=0, cache=use)
    tokens = [1] * len(pairs)
    return Chunk(
        pairs=pairs,
        fingerprint=FINGERPRINT,
        fields={},
        pair_tokens=tokens,
        context=context,
        tokens=len(pairs),
        digests=cache.digests(pairs, FINGERPRINT, {}, context),
    )


def _count(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


async def test_scores_are_known_for_the_time_to_live_and_not_longer():
    clock = Clock()
    cache = _cache(clock)
    cache.store(_chunk(cache, ["a"]), [0.5])
    clock.now += TTL_S - 1
    assert await cache.lookup(_chunk(cache, ["a", "b"])) == [0.5, None]
    clock.now += 1
    assert await cache.lookup(_chunk(cache, ["a", "b"])) == [None, None]


@pytest.mark.parametrize(("use", "found"), [("default", 0.5), ("no-cache", None), ("no-store", None)])
async def test_only_who_wants_it_reads(use: CacheUse, found: float | None):
    cache = _cache(Clock())
    cache.store(_chunk(cache, ["a"]), [0.5])
    assert await cache.lookup(_chunk(cache, ["a"], use)) == [found]


@pytest.mark.parametrize(("use", "kept"), [("default", 1), ("no-cache", 1), ("no-store", 0)])
def test_only_who_wants_it_writes(use: CacheUse, kept: int):
    cache = _cache(Clock())
    cache.store(_chunk(cache, ["a"], use), [0.5])
    assert len(cache.memory) == kept


async def test_hits_and_evictions_are_counted():
    metrics = Metrics()
    cache = _cache(Clock(), metrics=metrics, room=2)
    cache.store(_chunk(cache, ["a", "b"]), [0.5, 0.25])
    chunk = _chunk(cache, ["a", "b", "c"])
    await cache.lookup(chunk)
    cache.store(_chunk(cache, ["c"]), [0.125])
    assert chunk.context.stats.cache_hits == 2
    assert chunk.context.stats.cache_s > 0
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


def _named(weights: WeightNames, own: str, fingerprint: Fingerprint = FINGERPRINT) -> str:
    """What replicas call the weights."""
    named = fingerprint._replace(probe_scores=own)
    agreed = weights.agreed(named) or weights.add(named)
    assert agreed._replace(probe_scores=own) == named
    return agreed.probe_scores


def _exchange(*replicas: WeightNames, rounds: int = 2) -> dict[Fingerprint, Sequence[str]]:
    """What stands in Redis when each has exchanged names with it in turn, some times."""
    written: dict[Fingerprint, Sequence[str]] = {}
    for weights in replicas * rounds:
        written |= weights.merge({fingerprint: written.get(fingerprint, ()) for fingerprint in weights.fingerprints()})
    return written


def test_replicas_agree_on_one_name_for_weights_whose_scores_hardly_differ():
    one, other = WeightNames(), WeightNames()
    assert _named(one, "0.51,0.13") == "0.51,0.13"
    assert _named(other, "0.50,0.10") == "0.50,0.10"
    assert _exchange(one, other) == {FINGERPRINT: ["0.51,0.13"]}
    assert _named(one, "0.51,0.13") == _named(other, "0.50,0.10") == "0.51,0.13"


def test_replicas_that_write_at_the_same_moment_agree_all_the_same():
    one, other = WeightNames(), WeightNames()
    _named(one, "0.51,0.13")
    _named(other, "0.50,0.10")
    assert one.merge({FINGERPRINT: ()}) == {FINGERPRINT: ["0.51,0.13"]}
    assert other.merge({FINGERPRINT: ()}) == {FINGERPRINT: ["0.50,0.10"]}, "this one was the last to write"
    assert one.merge({FINGERPRINT: ["0.50,0.10"]}) == other.merge({FINGERPRINT: ["0.50,0.10"]}) == {}
    assert _named(one, "0.51,0.13") == _named(other, "0.50,0.10") == "0.50,0.10"


def test_other_weights_models_and_versions_keep_a_name_of_their_own():
    weights, elsewhere = WeightNames(), FINGERPRINT._replace(version="2")
    for fingerprint in (FINGERPRINT, elsewhere):
        assert _named(weights, "0.90,0.70", fingerprint) == "0.90,0.70"
    weights.merge({FINGERPRINT: ["0.50,0.10", "of another release", "nan,0.70", "0.90", ""], elsewhere: ["0.90,0.71"]})
    assert _named(weights, "0.90,0.70") == "0.90,0.70"
    assert _named(weights, "0.90,0.70", elsewhere) == "0.90,0.71"
    assert _named(weights, "") == ""


def test_weights_that_a_replica_tells_apart_never_get_one_name_whatever_is_listed():
    weights = WeightNames()
    apart = ["0.40,0.50", "0.55,0.50"]
    assert [_named(weights, own) for own in apart] == apart
    weights.merge({FINGERPRINT: ["0.48,0.50"]})
    assert [_named(weights, own) for own in apart] == ["0.40,0.50", "0.48,0.50"], "the nearest has it"


def test_names_do_not_wander_from_one_to_the_next():
    replicas = [WeightNames() for _ in range(10)]
    for step, weights in enumerate(replicas):
        _named(weights, f"{0.1 + step * 0.08:.2f},0.50")
    _exchange(*replicas)
    for step, weights in enumerate(replicas):
        own = f"{0.1 + step * 0.08:.2f},0.50"
        assert abs(float(_named(weights, own).split(",")[0]) - float(own.split(",", maxsplit=1)[0])) < 0.1001


@pytest.mark.parametrize("flood", [10, 100_000])
def test_however_many_names_are_listed_only_the_last_few_are_taken_over(flood: int):
    weights = WeightNames()
    _named(weights, "0.50")
    listed = [f"{number}" for number in range(flood)]
    began = perf_counter()
    (longer,) = weights.merge({FINGERPRINT: listed}).values()
    assert perf_counter() - began < 0.05
    assert longer == [*listed[-7:], "0.50"]


def test_a_worker_that_answers_anything_fills_neither_memory_nor_redis():
    weights = WeightNames()
    versions = [FINGERPRINT._replace(version=str(number)) for number in range(1000)]
    for number, version in enumerate(versions):
        _named(weights, f"{number}.00")
        _named(weights, "0.50", version)
        longer = weights.merge(dict.fromkeys(weights.fingerprints(), ()))
    assert len(weights.fingerprints()) <= 64
    assert max(len(names) for names in longer.values()) <= 8
    of_versions = [version for version in versions if weights.agreed(version._replace(probe_scores="0.50"))]
    of_weights = [number for number in range(1000) if weights.agreed(FINGERPRINT._replace(probe_scores=f"{number}.00"))]
    assert 0 < len(of_versions) <= 64
    assert 0 < len(of_weights) <= 8


def test_names_that_are_no_longer_used_are_forgotten():
    weights, old = WeightNames(), FINGERPRINT._replace(version="0")
    _named(weights, "0.50", old)
    _named(weights, "0.50")
    _exchange(weights)
    assert weights.in_use().keys() == {old, FINGERPRINT}
    weights.merge({FINGERPRINT: ["0.51"], old: ["0.51"]})
    assert _named(weights, "0.50") == "0.51", "and what is used again has the name it had"
    assert weights.in_use() == {FINGERPRINT: ["0.51"]}
    assert weights.in_use() == {}
