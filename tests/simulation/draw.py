"""From a seed to a plan: one source of chance decides everything that happens in a run."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.simulation.chance import Chance
from tests.simulation.crowded import crowded
from tests.simulation.mishaps import Mishaps
from tests.simulation.plan import Plan, WorkerSpec
from tests.simulation.replica import SECRETS
from tests.simulation.scene import Scene
from tests.simulation.steady import steady
from tests.simulation.workload import Workload

# Tokens that a document has beside its words, with the query.
_TOKENS_PER_DOCUMENT = 9
# Of a gateway's probe, and of a long document.
_PROBE_TOKENS = 64
_MANY_TOKENS = 20
# Every so many seeds have a steady load, which takes ten times as long to run.
_STEADY_EVERY, _STEADY_FIRST = 100, 30
# Every so many have one key that floods beside one that is modest.
_CROWDED_EVERY, _CROWDED_FIRST = 40, 7
# The share of seeds whose workers are reached over a network.
_NETWORK_SHARE = 1 / 8


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    plan = _drawn(seed)
    # By chance of its own, so that the rest of a plan is the same with a network as without.
    return replace(plan, is_over_network=Chance(f"{seed} network").random() < _NETWORK_SHARE)


def _drawn(seed: int) -> Plan:
    if seed % _STEADY_EVERY == _STEADY_FIRST:
        return steady(seed)
    return crowded(seed) if seed % _CROWDED_EVERY == _CROWDED_FIRST else _ordinary(seed)


def _ordinary(seed: int) -> Plan:
    """A plan in which anything may happen."""
    chance = Chance(seed)
    scene = _scene(chance)
    events = Workload(chance, scene).draw()
    if not scene.is_calm:
        events += Mishaps(chance, scene).draw()
    return Plan(
        seed=seed,
        settings=_settings(chance, scene),
        workers=scene.workers,
        events=tuple(sorted(events, key=lambda event: event.at)),
        replicas=scene.replicas,
        has_coarse_clock=chance.random() < 0.3,
        has_presence=chance.random() < 0.7,
    )


def _scene(chance: Chance) -> Scene:
    duration_s = chance.choices(
        [chance.spread(2, 10), chance.spread(10, 40), chance.spread(60, 300)], weights=[85, 13.5, 1.5]
    )[0]
    per_document_s = chance.spread(0.001, 0.03)
    max_batch = chance.choice([2, 4, 4, 8, 8, 16, 64])
    keys = ("anonymous",) if chance.random() < 0.6 else tuple(SECRETS)[: chance.choice([2, 3])]
    is_calm = chance.random() < 0.35
    models = ("m",) if chance.random() < 0.9 else ("m", "n")
    replicas = 2 if chance.random() < 0.08 else 1
    scene = Scene(
        duration_s=duration_s,
        per_document_s=per_document_s,
        max_batch=max_batch,
        # Keys of several replicas would need a file with a secret.
        keys=keys if replicas == 1 else ("anonymous",),
        models=models,
        replicas=replicas,
        is_calm=is_calm,
    )
    return replace(scene, workers=_workers(chance, scene))


def _workers(chance: Chance, scene: Scene) -> tuple[WorkerSpec, ...]:
    count = chance.choices([1, 2, 3, 4, 6], weights=[4, 4, 3, 2, 1])[0]
    are_alike = scene.is_calm or chance.random() < 0.6
    base = WorkerSpec(
        name="w0",
        models=(scene.models[0],),
        fixed_s=chance.sometimes(0.3, 0.0, chance.spread(0.001, 0.05)),
        per_token_s=round(scene.per_document_s / _TOKENS_PER_DOCUMENT, 7),
        lanes=chance.choice([1, 1, 1, 2, 4]),
        identify_s=chance.spread(0.001, 0.3),
    )
    workers = []
    for number in range(count):
        factor = 1.0 if are_alike else chance.uniform(1, 4)
        worker = replace(
            base,
            name=f"w{number + 1}",
            per_token_s=round(base.per_token_s * factor, 7),
            is_there=number == 0 or chance.random() < 0.93,
        )
        if len(scene.models) > 1:
            worker = replace(worker, models=chance.choice([("m",), ("n",), ("m", "n")]))
        workers.append(worker)
    if len(scene.models) > 1:
        workers[0] = replace(workers[0], models=tuple(scene.models))
    return tuple(workers)


def _settings(chance: Chance, scene: Scene) -> dict[str, Any]:
    deadline_s = round(chance.sometimes(0.3, 25.0, chance.spread(2, 25)), 2)
    drawn: dict[str, Any] = {
        "max_batch": scene.max_batch,
        "min_batch": chance.randint(1, scene.max_batch),
        "deadline_s": deadline_s,
        "no_worker_wait_s": round(min(5.0, deadline_s * chance.uniform(0.05, 0.9)), 2),
        "probe_interval_s": chance.sometimes(0.3, 10.0, chance.spread(0.5, 10)),
        "probe_timeout_s": round(max(_least_probe_s(scene), chance.sometimes(0.3, 5.0, chance.spread(0.5, 5))), 2),
        "worker_min_documents": chance.choice([1, scene.max_batch, scene.max_batch, 2 * scene.max_batch, 64]),
        "cache_max_bytes": chance.choice([0, 20_000, 2**20]),
        "max_queue_wait_s": chance.sometimes(0.5, 5.0, chance.spread(0.3, 25)),
    }
    others: Sequence[tuple[str, float, Any]] = (
        ("hedge", 0.2, True),
        ("cache", 0.3, False),
        ("max_attempts", 0.3, chance.randint(2, 8)),
        ("retry_ratio", 0.2, chance.choice([0.0, 0.05, 1.0])),
        ("retry_reserve", 0.2, chance.choice([0.0, 2.0, 10.0])),
        ("document_errors", 0.5, "lowest"),
        ("fallback", 0.1, "lexical"),
        ("max_batch_tokens", 0.1, chance.randint(20, 200)),
        ("worker_max_calls", 0.1, chance.randint(1, 4)),
        ("max_pending_documents", 0.1, chance.randint(10, 300)),
        ("max_pending_documents_per_key", 0.15, chance.randint(10, 300)),
        ("cache_ttl_s", 0.1, chance.randint(1, 10)),
    )
    drawn |= {name: value for name, share, value in others if chance.random() < share}
    if scene.keys[0] != "anonymous":
        drawn["api_keys"] = {name: SECRETS[name] for name in scene.keys}
        drawn["cache_across_keys"] = chance.random() < 0.5
    if scene.replicas > 1:
        drawn["cache"] = True
    return drawn


def _least_probe_s(scene: Scene) -> float:
    """What a probe needs on the slowest worker, beside some chunks that it has."""
    slowest = max(scene.workers, key=lambda spec: spec.per_token_s)
    probe_s = slowest.identify_s + len(slowest.models) * (slowest.fixed_s + _PROBE_TOKENS * slowest.per_token_s)
    chunk_s = slowest.fixed_s + scene.max_batch * _MANY_TOKENS * slowest.per_token_s
    return 2 * probe_s + 4 * chunk_s
