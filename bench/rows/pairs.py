"""What a pair costs the cache in time and memory, with a million of them in a process of its own."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path
from time import process_time

from app.cache.memory_tier import BYTES_PER_PAIR, MemoryTier
from app.policy.pair_digest import DIGEST_BYTES, pair_digests
from app.types import Fingerprint, Pairs
from bench.report import Report
from bench.traffic import texts

_PAIRS, _AT_ONCE = 1_000_000, 100
_DOCUMENT_CHARS = 700


async def measure(report: Report) -> None:
    """A lookup that finds something, a store into a full cache, a digest; and the memory of all of it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        loop = asyncio.get_running_loop()
        lookup_us, store_us, size_bytes = await loop.run_in_executor(fresh, _memory_tier)
    report.put("pair_us", "looked up and found", lookup_us)
    report.put("pair_us", "stored, while another leaves for it", store_us)
    report.put("pair_us", f"digest of {_DOCUMENT_CHARS} bytes", _digest_us())
    report.put("pairs_mb", f"{_PAIRS:,}", _PAIRS * size_bytes / 1e6)


def _memory_tier() -> tuple[float, float, float]:
    """Microseconds of CPU per pair that is looked up, and stored into a full cache; then its bytes per pair."""
    tier = MemoryTier(_PAIRS * BYTES_PER_PAIR)
    store = partial(tier.store, scores=[0.5] * _AT_ONCE, expiry=2**31)
    before = _resident_bytes()
    _us_per_pair(store, range(0, _PAIRS, _AT_ONCE))
    lookup_us = _us_per_pair(partial(tier.lookup, now=0), range(0, _PAIRS, 5 * _AT_ONCE))
    # Until all that was there has left: tables that lose pairs are larger than those that only get some.
    store_us = _us_per_pair(store, range(_PAIRS, 2 * _PAIRS, _AT_ONCE))
    return lookup_us, store_us, (_resident_bytes() - before) / len(tier)


def _us_per_pair(use: Callable[[list[bytes]], object], starts: range) -> float:
    """What `use` takes for the digests from each start on; making these isn't counted."""
    seconds = 0.0
    for start in starts:
        numbers = range(start, start + _AT_ONCE)
        digests = [blake2b(number.to_bytes(8, "little"), digest_size=DIGEST_BYTES).digest() for number in numbers]
        began = process_time()
        use(digests)
        seconds += process_time() - began
    return 1e6 * seconds / (len(starts) * _AT_ONCE)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _digest_us() -> float:
    asked = Pairs(["which one is it?"], texts(_AT_ONCE, _DOCUMENT_CHARS))
    fingerprint = Fingerprint("model", "/models/model", 512, "0.32.0", "")
    rounds = []
    for _ in range(200):
        began = process_time()
        pair_digests(asked, secret=b"s" * 64, tenant="key", generation=0, fingerprint=fingerprint, fields={})
        rounds.append(process_time() - began)
    return 1e6 * min(rounds) / _AT_ONCE
