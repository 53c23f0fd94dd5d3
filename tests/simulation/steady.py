"""A load that stays the same, by which memory and forecasts are judged."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.simulation.chance import Chance
from tests.simulation.plan import Ask, Loop, Measure, Plan, WorkerSpec
from tests.simulation.replica import SECRETS

_ROUNDS, _ROUND_S, _PAUSE_S = 3, 13.0, 25.5


def steady(seed: int) -> Plan:
    """Several rounds of the same load and nothing else: closed loops, well workers that are alike, one model."""
    chance = Chance(f"{seed} steady")
    max_batch = chance.choice([4, 8, 16, 32])
    keys: Sequence[str] = chance.choice([("anonymous",), ("anonymous",), ("alpha", "beta")])
    loops = [
        Loop(
            at=0.0,
            clients=chance.randint(4, 12),
            lasts_s=_ROUND_S,
            think_s=chance.choice([0.0, 0.0, 0.05, 0.3]),
            ask=Ask(
                at=0.0, key=chance.choice(keys), query=number, documents=chance.randint(max_batch // 2, 3 * max_batch)
            ),
        )
        for number in range(chance.randint(1, 3))
    ]
    base = WorkerSpec(name="w1", per_token_s=chance.choice([0.001, 0.002, 0.004]))
    settings: dict[str, Any] = {
        "max_batch": max_batch,
        "min_batch": chance.randint(1, max_batch),
        "deadline_s": 25.0,
        "max_queue_wait_s": 25.0,
        "worker_min_documents": chance.choice([1, max_batch, 64]),
        "cache_max_bytes": chance.choice([0, 10_000]),
    }
    if len(keys) > 1:
        settings["api_keys"] = {name: SECRETS[name] for name in keys}
    # By the end of a round's pause everything is answered: no request has more than 25 seconds.
    begins = [number * (_ROUND_S + _PAUSE_S) for number in range(_ROUNDS)]
    events = [replace(loop, at=at) for at in begins for loop in loops]
    return Plan(
        seed=seed,
        settings=settings,
        workers=tuple(replace(base, name=f"w{number + 1}") for number in range(chance.randint(1, 3))),
        events=(*events, *(Measure(at=at + _ROUND_S + _PAUSE_S - 0.1) for at in begins)),
    )
