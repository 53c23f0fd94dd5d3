"""Plans that once broke a promise, shrunk: they run always."""

from tests.simulation.plan import Ask, Fault, Loop, Plan, Replace, WorkerSpec

FOUND: dict[str, Plan] = {
    "a worker that failed a call during its routine probe was lost for ever": Plan(
        seed=165,
        settings={"max_batch": 4, "min_batch": 1, "probe_interval_s": 1.6723},
        workers=(
            WorkerSpec(name="w1", fixed_s=0.0013, per_token_s=0.0002444, identify_s=0.0317),
            WorkerSpec(name="w2", fixed_s=0.0013, per_token_s=0.0002444, identify_s=0.0317, is_there=False),
            WorkerSpec(name="w3", fixed_s=0.0013, per_token_s=0.0002444, identify_s=0.0317),
            WorkerSpec(name="w4", fixed_s=0.0013, per_token_s=0.0002444, identify_s=0.0317),
        ),
        events=(
            Ask(at=0.367, first=45),
            Loop(at=0.377, lasts_s=0.0001, ask=Ask(at=0.0, first=1, documents=3)),
            Fault(at=0.478, worker="w2", kind="slow", route="all", lasts_s=0.0001, amount=1.716),
            Fault(at=0.83, worker="w4", kind="error", lasts_s=0.0559),
            Ask(at=0.871, first=15, documents=25),
            Fault(at=5.4197, worker="w4", kind="error", lasts_s=0.0018),
        ),
    ),
    "clients that send one chunk after the other let no request have its second": Plan(
        seed=731,
        settings={"max_batch": 2, "min_batch": 1, "worker_min_documents": 2},
        workers=(WorkerSpec(name="w1", fixed_s=0.0, per_token_s=0.0033),),
        events=(
            Loop(at=5.54, lasts_s=1.782, ask=Ask(at=0.0, first=53, documents=3)),
            Loop(at=6.875, clients=3, lasts_s=0.594, ask=Ask(at=0.0, first=1, documents=2)),
        ),
    ),
    "an hour's Retry-After cost an hour": Plan(
        seed=42,
        settings={"max_batch": 16, "api_keys": {"alpha": "secret-of-alpha", "beta": "secret-of-beta"}},
        workers=(WorkerSpec(name="w1", fixed_s=0.0, per_token_s=0.0031824),),
        events=(
            Ask(at=0.254, key="alpha", first=28, documents=120),
            Fault(at=0.387, worker="w1", kind="busy", lasts_s=0.521, amount=3600.0),
        ),
    ),
    "a pause before a retry went past the deadline": Plan(
        seed=53,
        settings={"deadline_s": 4.83, "no_worker_wait_s": 1.7},
        workers=(
            WorkerSpec(name="w1", fixed_s=0.0, per_token_s=0.0055948, identify_s=0.0026),
            WorkerSpec(name="w3", fixed_s=0.0, per_token_s=0.0038037, identify_s=0.0026),
        ),
        events=(
            Loop(at=0.627, lasts_s=0.0001, ask=Ask(at=0.0, first=1)),
            Loop(at=0.653, clients=2, lasts_s=0.0001, ask=Ask(at=0.0, first=317)),
            Ask(at=1.048, first=321),
            Ask(at=1.048, first=321, documents=21, cache="no-cache"),
            Ask(at=1.048, first=321),
            Ask(at=1.048, query=3, first=321, documents=14),
            Ask(at=1.0502, query=3, first=331, documents=17, leaves_steps_later=7, route="/rerank"),
            Ask(
                at=1.5127,
                query=3,
                first=321,
                documents=21,
                words=15,
                cache="no-store",
                leaves_steps_later=2,
                route="/v1/score",
            ),
            Ask(at=1.727, query=1, first=206, documents=111, leaves_steps_later=11),
            Ask(at=2.408, first=95, documents=111, leaves_after_s=0.0043, route="/rerank"),
            Fault(at=4.576, worker="w3", kind="reset", lasts_s=0.3098),
        ),
    ),
    "weights that left one irrelevant pair at zero counted as the same": Plan(
        seed=15,
        settings={"min_batch": 1},
        workers=(WorkerSpec(name="w1"), WorkerSpec(name="w2")),
        events=(Replace(at=7.822, worker="w1", down_s=0.9101, weights=2),),
    ),
}
