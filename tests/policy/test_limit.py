from app.policy.limit import Limit


def _serve(limit: Limit, *, parallel: int, chunk: int = 64, rounds: int = 400) -> int:
    """A worker that scores `parallel` documents in 10 ms, kept as full as the limit allows."""
    for _ in range(rounds):
        held = 0
        while limit.allows(held):
            held += chunk
        seconds = 0.01 * max(1.0, held / parallel)
        limit.observe(documents=chunk, held=held, seconds=seconds)
    return limit.documents


def test_a_worker_that_scores_chunk_after_chunk_gets_two_or_three():
    assert 64 < _serve(Limit(least=64, most=4096, chunk=64), parallel=64) <= 256


def test_a_worker_that_scores_many_chunks_at_once_gets_many():
    assert _serve(Limit(least=64, most=4096, chunk=64), parallel=1024) >= 1024


def test_the_limit_keeps_its_bounds():
    assert _serve(Limit(least=64, most=128, chunk=64), parallel=10**6) == 128
    limit = Limit(least=64, most=4096, chunk=64)
    limit.observe(documents=64, held=64, seconds=0.01)
    for _ in range(100):
        limit.observe(documents=64, held=640, seconds=10)
    assert limit.documents == 64


def test_a_worker_with_little_to_do_teaches_nothing():
    limit = Limit(least=256, most=4096, chunk=64)
    for _ in range(100):
        limit.observe(documents=1, held=1, seconds=0.01)
    assert limit.documents == 256


def test_a_worker_that_is_always_full_never_gets_a_long_queue():
    limit = Limit(least=64, most=4096, chunk=32)
    for _ in range(20):
        assert _serve(limit, parallel=32, chunk=32, rounds=1000) <= 192


def test_a_worker_that_became_slower_for_good_is_measured_anew():
    limit = Limit(least=64, most=4096, chunk=64)
    for slowness in (1, 3):
        for _ in range(6000):
            held = 0
            while limit.allows(held):
                held += 64
            limit.observe(documents=64, held=held, seconds=0.01 * slowness * max(1.0, held / 1024))
        assert limit.documents >= 1024


def test_a_worker_that_gets_one_huge_call_at_a_time_is_measured_too():
    limit = Limit(least=64, most=4096, chunk=64)
    for _ in range(2100):
        limit.observe(documents=1000, held=1000, seconds=0.01)
    assert limit.documents > 64
