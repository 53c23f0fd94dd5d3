from heapq import heappop, heappush
from random import Random

from app.policy.concurrency_limit import ConcurrencyLimit


def _serve(limit: ConcurrencyLimit, *, parallel: int, chunk: int = 64, rounds: int = 400) -> int:
    """A worker that scores `parallel` documents in 10 ms, kept as full as the limit allows."""
    for _ in range(rounds):
        held = 0
        while limit.allows(held):
            held += chunk
        seconds = 0.01 * max(1.0, held / parallel)
        limit.observe(documents=chunk, tokens=10 * chunk, held=held, seconds=seconds)
    return limit.documents


def test_a_worker_that_scores_chunk_after_chunk_gets_one_and_the_beginning_of_the_next():
    assert 64 < _serve(ConcurrencyLimit(least=64, most=4096, chunk=64), parallel=64) <= 128


def test_a_worker_that_scores_many_chunks_at_once_gets_many():
    assert _serve(ConcurrencyLimit(least=64, most=4096, chunk=64), parallel=1024) >= 1024


def test_the_limit_keeps_its_bounds():
    assert _serve(ConcurrencyLimit(least=64, most=128, chunk=64), parallel=10**6) == 128
    limit = ConcurrencyLimit(least=64, most=4096, chunk=64)
    limit.observe(documents=64, tokens=10 * 64, held=64, seconds=0.01)
    for _ in range(100):
        limit.observe(documents=64, tokens=10 * 64, held=640, seconds=10)
    assert limit.documents == 64


def test_a_worker_with_little_to_do_teaches_nothing():
    limit = ConcurrencyLimit(least=256, most=4096, chunk=64)
    for _ in range(100):
        limit.observe(documents=1, tokens=10 * 1, held=1, seconds=0.01)
    assert limit.documents == 256


def test_a_worker_that_is_always_full_never_gets_a_long_queue():
    limit = ConcurrencyLimit(least=64, most=4096, chunk=32)
    for _ in range(20):
        assert _serve(limit, parallel=32, chunk=32, rounds=1000) <= 192


def test_a_worker_that_became_slower_for_good_is_measured_anew():
    limit = ConcurrencyLimit(least=64, most=4096, chunk=64)
    for slowness in (1, 3):
        for _ in range(6000):
            held = 0
            while limit.allows(held):
                held += 64
            limit.observe(documents=64, tokens=10 * 64, held=held, seconds=0.01 * slowness * max(1.0, held / 1024))
        assert limit.documents >= 1024


def test_a_worker_that_gets_one_huge_call_at_a_time_is_measured_too():
    limit = ConcurrencyLimit(least=64, most=4096, chunk=64)
    for _ in range(2100):
        limit.observe(documents=1000, tokens=10 * 1000, held=1000, seconds=0.01)
    assert limit.documents > 64


def test_the_last_chunk_may_pass_the_limit_by_half_and_an_idle_worker_gets_any():
    limit = ConcurrencyLimit(least=64, most=4096, chunk=65)
    assert [held for held in (0, 32, 33) if limit.allows(held)] == [0, 32]
    assert [held for held in (0, 1) if ConcurrencyLimit(least=16, most=16, chunk=64).allows(held)] == [0]


def test_a_request_that_is_alone_may_have_three_chunks_more_but_never_above_the_most():
    limit = ConcurrencyLimit(least=64, most=4096, chunk=64)
    assert [held for held in range(0, 640, 64) if limit.allows(held, alone=True)] == [0, 64, 128, 192]
    assert not limit.allows(64)
    bounded = ConcurrencyLimit(least=64, most=128, chunk=64)
    assert [held for held in range(0, 640, 64) if bounded.allows(held, alone=True)] == [0, 64]


def test_nobody_has_more_while_the_worker_is_measured():
    limit = _due_for_a_measurement()
    limit.observe(documents=64, tokens=10 * 64, held=96, seconds=0.01)
    assert limit.documents == 64
    assert not limit.allows(64, alone=True)


def test_it_grows_by_half_a_call_when_all_of_it_was_used_and_little_queues():
    for documents, grown in ((64, 96), (1, 65)):
        limit = ConcurrencyLimit(least=64, most=4096, chunk=64)
        limit.observe(documents=documents, tokens=10 * documents, held=64, seconds=0.01)
        assert limit.documents == grown
    unused = ConcurrencyLimit(least=128, most=4096, chunk=64)
    unused.observe(documents=64, tokens=10 * 64, held=64, seconds=0.01)
    assert unused.documents == 128
    queueing = ConcurrencyLimit(least=64, most=4096, chunk=64)
    for seconds in (0.01, 0.0105):
        queueing.observe(documents=64, tokens=10 * 64, held=128, seconds=seconds)
    assert queueing.documents == 64 + 32 + 32


def test_latencies_that_scatter_by_a_tenth_do_not_shrink_the_limit_of_a_worker_that_holds_much():
    limit = ConcurrencyLimit(least=64, most=1024, chunk=64)
    for _ in range(100):
        limit.observe(documents=64, tokens=10 * 64, held=1024, seconds=0.01)
        limit.observe(documents=64, tokens=10 * 64, held=1024, seconds=0.011)
    assert limit.documents == 1024


def test_a_call_that_took_no_time_that_could_be_measured_is_a_good_one():
    limit = ConcurrencyLimit(least=64, most=4096, chunk=64)
    limit.observe(documents=64, tokens=10 * 64, held=64, seconds=0.0)
    assert limit.documents == 96


def test_what_a_clock_in_milliseconds_can_not_tell_is_no_queue():
    limit = ConcurrencyLimit(least=64, most=512, chunk=64)
    for seconds in (0.0, 0.001, 0.002) * 10:
        limit.observe(documents=32, tokens=10 * 32, held=limit.documents, seconds=seconds)
    assert limit.documents == 512
    limit.observe(documents=32, tokens=10 * 32, held=512, seconds=0.004)
    assert limit.documents == 460


def test_a_quarter_of_a_chunk_beyond_what_the_clock_can_not_tell_is_a_queue():
    limit = ConcurrencyLimit(least=128, most=512, chunk=64)
    for seconds, documents in ((0.01, 160), (0.0132, 192), (0.0136, 192)):
        limit.observe(documents=64, tokens=10 * 64, held=limit.documents, seconds=seconds)
        assert limit.documents == documents


def _due_for_a_measurement() -> ConcurrencyLimit:
    """A limit of 64 to 128 one result before it is measured again; a document took 1 ms, 64 of them 10."""
    limit = ConcurrencyLimit(least=64, most=128, chunk=64)
    limit.observe(documents=1, tokens=10 * 1, held=1, seconds=0.001)
    for _ in range(1998):
        limit.observe(documents=64, tokens=10 * 64, held=96, seconds=0.01)
    assert limit.documents == 128
    return limit


def test_every_two_thousand_results_it_keeps_low_for_eight():
    limit = _due_for_a_measurement()
    seen = []
    for _ in range(10):
        limit.observe(documents=64, tokens=10 * 64, held=64, seconds=0.01)
        seen.append(limit.documents)
    assert seen == [64] * 8 + [128] * 2


def test_what_set_out_before_the_queue_was_short_is_not_measured():
    limit = _due_for_a_measurement()
    limit.observe(documents=64, tokens=10 * 64, held=64, seconds=0.01)
    for _ in range(20):
        limit.observe(documents=64, tokens=10 * 64, held=64 + 64, seconds=0.01)
    seen = []
    for _ in range(8):
        limit.observe(documents=10, tokens=10 * 10, held=64 + 10, seconds=0.01)
        seen.append(limit.documents)
    assert seen == [64] * 7 + [128]


def test_the_new_base_is_the_shortest_that_was_measured_and_judges_sizes_that_did_not_come_up():
    limit = _due_for_a_measurement()
    limit.observe(documents=64, tokens=640, held=64, seconds=0.01)
    for seconds in (0.02, *[0.08] * 7):
        limit.observe(documents=64, tokens=640, held=64, seconds=seconds)
    assert limit.documents == 128
    limit.observe(documents=64, tokens=640, held=128, seconds=0.1)
    assert limit.documents == 115
    limit.observe(documents=64, tokens=1280, held=128, seconds=0.04)
    assert limit.documents == 115 + 32 - 19
    limit.observe(documents=64, tokens=1280, held=128, seconds=0.1)
    assert limit.documents == 115


def _possible(limit: ConcurrencyLimit | None, *, most: int, rng: Random, chunks: int = 20_000) -> float:
    """Chunks per second of a worker that scores up to 16 at once, each alone, texts of 10 to 500 tokens.

    It always gets what the limit allows; without one, 16 chunks.
    """
    now, held, done = 0.0, 0, 0
    calls: list[tuple[float, int, float, int]] = []
    free = [0.0] * 16
    while done < chunks:
        while limit.allows(held) if limit else held < most:
            tokens, held = 32 * int(10 * 50 ** rng.random()), held + 32
            slot = min(range(16), key=free.__getitem__)
            free[slot] = max(free[slot], now) + 0.01 + tokens * 1e-5
            heappush(calls, (free[slot], tokens, now, held))
        now, tokens, began, held_then = heappop(calls)
        held, done = held - 32, done + 1
        if limit:
            limit.observe(documents=32, tokens=tokens, held=held_then, seconds=now - began)
    return done / now


def test_texts_of_mixed_lengths_do_not_look_like_a_queue():
    limit = ConcurrencyLimit(least=64, most=2048, chunk=32)
    assert _possible(limit, most=0, rng=Random(1)) >= 0.9 * _possible(None, most=16 * 32, rng=Random(1))
    assert limit.documents <= 3 * 16 * 32


def test_a_size_that_is_new_is_judged_by_those_that_are_known():
    limit = ConcurrencyLimit(least=64, most=4096, chunk=64)
    for _ in range(100):
        limit.observe(documents=64, tokens=1000, held=limit.documents, seconds=0.01)
    grown = limit.documents
    for tokens, seconds in ((500, 0.1), (2000, 0.1)):
        limit.observe(documents=64, tokens=tokens, held=grown, seconds=seconds)
        assert limit.documents < grown
        grown = limit.documents
