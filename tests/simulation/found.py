"""Seeds and plans that once broke a promise: they run always. A seed means what `chance.draw` makes of it now."""

from tests.simulation.plan import Ask, Fault, Loop, Operate, Plan, Replace, Standstill, WorkerSpec

FOUND: dict[str, Plan] = {
    "a worker that failed a call during its routine probe was lost for ever": Plan(
        seed=1473,
        settings={"max_batch": 8, "min_batch": 3, "probe_interval_s": 0.633, "worker_min_documents": 8},
        workers=(WorkerSpec(name="w1", fixed_s=0.0022, per_token_s=0.0003778, lanes=2, identify_s=0.0145),),
        events=(
            Loop(at=0.5, clients=9, lasts_s=1.5, ask=Ask(at=0, first=1, documents=11)),
            *(Fault(at=0.5 + 0.1 * n, worker="w1", kind="reset", lasts_s=0.0036) for n in range(15)),
        ),
    ),
    "clients of one chunk each let a big request starve": Plan(
        seed=1,
        settings={"max_batch": 4, "min_batch": 1, "worker_min_documents": 4},
        workers=(WorkerSpec(name="w1", fixed_s=0.0, per_token_s=0.002),),
        events=(
            Loop(at=0, clients=8, lasts_s=8, ask=Ask(at=0, first=1, documents=4)),
            Ask(at=1, first=500, documents=60),
        ),
    ),
    "an hour's Retry-After cost an hour": Plan(
        seed=141,
        workers=(WorkerSpec(name="w1"),),
        events=(
            Fault(at=1, worker="w1", kind="busy", lasts_s=0.5, amount=3600.0),
            Loop(at=0.9, clients=2, lasts_s=1, ask=Ask(at=0, first=1, documents=5)),
        ),
    ),
    "weights that left one irrelevant pair at zero counted as the same": Plan(
        seed=15,
        settings={"min_batch": 1},
        workers=(WorkerSpec(name="w1"), WorkerSpec(name="w2")),
        events=(Replace(at=7.822, worker="w1", down_s=0.9101, weights=2),),
    ),
    "a pause before a retry went past the deadline": Plan(
        seed=33,
        settings={"retry_reserve": 100.0},
        workers=(WorkerSpec(name="w1"),),
        events=(
            Fault(at=1, worker="w1", kind="error", lasts_s=3),
            *(Ask(at=1.5 + 0.1 * n, first=10 * n, documents=3, timeout_ms=120) for n in range(12)),
        ),
    ),
    "calls on well workers were given up at half of the time left, again and again": Plan(
        seed=2274,
        workers=(WorkerSpec(name="w1", per_token_s=0.0016444), WorkerSpec(name="w2", per_token_s=0.0016444)),
        events=(
            Ask(at=0.982, first=1, documents=88, has_long_query=True),
            Ask(at=0.982, first=1, documents=90),
        ),
    ),
    "who waited for workers after theirs had gone got no answer at all": Plan(
        seed=4628,
        settings={"deadline_s": 2.4, "no_worker_wait_s": 0.3, "worker_min_documents": 1, "max_batch_tokens": 151},
        workers=(WorkerSpec(name="w1", per_token_s=0.0007),),
        events=(
            Ask(at=0.327, first=183, documents=188),
            Loop(at=0.4, clients=3, lasts_s=1, ask=Ask(at=0, first=55, documents=128), is_fresh=False),
            Fault(at=0.959, worker="w1", kind="down", route="all", lasts_s=1),
        ),
    ),
    "a standstill was blamed on workers, one of which was lost": Plan(
        seed=1538,
        workers=(WorkerSpec(name="w1", per_token_s=0.0031778), WorkerSpec(name="w2", per_token_s=0.0031778)),
        events=(
            Loop(at=0.044, lasts_s=0.0001, ask=Ask(at=0, first=1021)),
            Ask(at=1.7, first=81, documents=65),
            Standstill(at=1.705, lasts_s=7.2525),
            Fault(at=1.71, worker="w2", kind="reset", lasts_s=0.0018),
            Ask(at=1.71, first=1, documents=32),
        ),
    ),
    "a drain while the cache is flushed leaves nothing behind": Plan(
        seed=5,
        workers=(WorkerSpec(name="w1"), WorkerSpec(name="w2")),
        events=(
            Loop(at=0, clients=4, lasts_s=3, ask=Ask(at=0, first=1, documents=20), is_fresh=False),
            Operate(at=1, order="drain", subject="w1"),
            Operate(at=1.2, order="flush", subject="m"),
            Operate(at=1.4, order="undrain", subject="w1"),
            Operate(at=2, order="stop"),
        ),
    ),
}
