"""The cache of one process: what it knows, for how long, in how much memory, and what stays when it is full."""

import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cache.memory_tier import BYTES_PER_PAIR, MemoryTier
from app.policy.pair_digest import DIGEST_BYTES

NOW, EXPIRY = 1000.0, 2000
# Stores pairs in a process of its own, and says by how many bytes that grew, and by how many the cache says it did.
GROWTH = """
import sys
from app.cache.memory_tier import BYTES_PER_PAIR, MemoryTier
from tests.cache.test_memory_tier import EXPIRY, digests, resident_bytes
room, pairs = map(int, sys.argv[1:])
tier, before = MemoryTier(room * BYTES_PER_PAIR), resident_bytes()
for first in range(0, pairs, 1000):
    tier.store(digests(first, first + 1000), [0.5] * 1000, EXPIRY)
print(resident_bytes() - before, tier.size_bytes, len(tier))
"""
needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the size of a process from /proc")


def digests(first: int, end: int) -> list[bytes]:
    return [blake2b(number.to_bytes(8, "big"), digest_size=DIGEST_BYTES).digest() for number in range(first, end)]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _tier(pairs: int) -> MemoryTier:
    return MemoryTier(pairs * BYTES_PER_PAIR)


def _store(tier: MemoryTier, first: int, end: int) -> int:
    return tier.store(digests(first, end), [float(number) for number in range(first, end)], EXPIRY)


def _known(tier: MemoryTier, first: int, end: int) -> int:
    return sum(score is not None for score in tier.lookup(digests(first, end), NOW))


def test_what_was_stored_is_found_and_nothing_else():
    tier = _tier(100)
    assert tier.lookup(digests(0, 2), NOW) == [None, None]
    _store(tier, 0, 3)
    assert tier.lookup(digests(1, 5), NOW) == [1.0, 2.0, None, None]


def test_nothing_asked_is_nothing_found():
    assert _tier(1).lookup([], NOW) == []
    assert _tier(1).store([], [], EXPIRY) == 0


def test_a_score_is_known_until_it_expires_and_not_from_then_on():
    tier = _tier(100)
    _store(tier, 0, 1)
    assert tier.lookup(digests(0, 1), EXPIRY - 0.01) == [0.0]
    assert tier.lookup(digests(0, 1), EXPIRY) == [None]


def test_storing_again_replaces_score_and_expiry_and_takes_no_more_room():
    tier = _tier(100)
    _store(tier, 7, 8)
    assert tier.store(digests(7, 8), [-1.5], EXPIRY + 10) == 0
    assert tier.lookup(digests(7, 8), EXPIRY) == [-1.5]
    assert len(tier) == 1


def test_it_never_has_more_pairs_than_its_memory_is_for():
    tier = MemoryTier(10 * BYTES_PER_PAIR + BYTES_PER_PAIR - 1)
    for first in range(0, 100, 7):
        _store(tier, first, first + 7)
        assert len(tier) <= 10
        assert tier.size_bytes == len(tier) * BYTES_PER_PAIR


def test_every_pair_that_had_to_leave_is_counted():
    tier = _tier(10)
    assert _store(tier, 0, 8) == 0
    assert _store(tier, 8, 13) == 3
    assert _store(tier, 12, 13) == 0
    assert _store(tier, 100, 125) == 25
    assert _known(tier, 0, 125) == 10


@pytest.mark.parametrize("max_bytes", [0, BYTES_PER_PAIR - 1])
def test_without_memory_for_a_pair_it_knows_nothing(max_bytes: int):
    tier = MemoryTier(max_bytes)
    assert _store(tier, 0, 100) == 0
    assert _known(tier, 0, 100) == len(tier) == 0


@pytest.mark.parametrize("room", [1, 2, 9, 10])
def test_the_smallest_caches_keep_what_came_last(room: int):
    tier = _tier(room)
    for number in range(50):
        _store(tier, number, number + 1)
        assert _known(tier, number, number + 1) == 1


@pytest.mark.parametrize("room", [10_000, 100_000])
def test_a_scan_of_twenty_thousand_pairs_leaves_what_is_hot(room: int):
    tier, hot = _tier(room), room // 5
    _store(tier, 0, room)
    _known(tier, 0, hot)
    for first in range(room, room + 20_000, 100):
        _store(tier, first, first + 100)
    # Second chances are bounded: a pair in 65 is the price.
    assert _known(tier, 0, hot) > 0.98 * hot


def test_hot_pairs_stay_however_many_scans_pass():
    tier, hot = _tier(10_000), 5000
    _store(tier, 0, hot)
    for scan in range(20):
        _known(tier, 0, hot)
        first = 10_000 * (scan + 1)
        _store(tier, first, first + 10_000)
    assert _known(tier, 0, hot) > 0.9 * hot


def test_a_new_pair_is_not_taken_for_asked_because_one_was_that_left_for_it():
    tier = _tier(100)
    _store(tier, 0, 100)
    _known(tier, 0, 100)
    _store(tier, 100, 140)
    assert _known(tier, 100, 128) == 0
    assert _known(tier, 139, 140) == 1


def test_what_is_hot_no_longer_makes_room_for_what_became_so():
    tier = _tier(1000)
    for phase in range(3):
        first = 10_000 * phase
        wanted = digests(first, first + 800)
        for _ in range(20):
            scores = tier.lookup(wanted, NOW)
            missing = [digest for digest, score in zip(wanted, scores, strict=True) if score is None]
            tier.store(missing, [0.5] * len(missing), EXPIRY)
        assert _known(tier, first, first + 800) > 0.95 * 800


@needs_proc
@pytest.mark.parametrize("pairs", [400_000, 800_000], ids=["just filled", "with pairs that left"])
def test_the_size_it_tells_is_the_real_one_to_a_fifth(pairs: int):
    grown, told, kept = _grown(room=400_000, pairs=pairs)
    assert kept == 400_000
    assert told == pytest.approx(grown, rel=0.2)


@needs_proc
def test_a_million_pairs_take_less_than_200_megabytes():
    grown, _, kept = _grown(room=1_000_000, pairs=1_200_000)
    assert kept == 1_000_000
    assert grown < 200_000_000


def _grown(*, room: int, pairs: int) -> tuple[int, ...]:
    command = [sys.executable, "-c", GROWTH, str(room), str(pairs)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True).stdout
    return tuple(map(int, told.split()))


@given(
    room=st.integers(0, 12),
    steps=st.lists(
        st.tuples(st.lists(st.integers(0, 20), max_size=8, unique=True), st.integers(1, 5), st.booleans()), max_size=60
    ),
)
def test_a_score_it_returns_is_the_last_one_stored_for_that_digest_and_has_not_expired(room, steps):
    tier = _tier(room)
    stored: dict[bytes, tuple[float, int]] = {}
    for now, (numbers, lifetime, is_lookup) in enumerate(steps):
        wanted = [digests(number, number + 1)[0] for number in numbers]
        if is_lookup:
            for digest, score in zip(wanted, tier.lookup(wanted, now), strict=True):
                assert score is None or (score == stored[digest][0] and now < stored[digest][1])
        else:
            scores = [now + number / 100 for number in numbers]
            tier.store(wanted, scores, now + lifetime)
            stored |= {digest: (score, now + lifetime) for digest, score in zip(wanted, scores, strict=True)}
        assert len(tier) <= room
    assert sum(score is not None for score in tier.lookup(list(stored), float("-inf"))) == len(tier)
