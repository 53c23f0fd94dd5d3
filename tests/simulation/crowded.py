"""A key that floods and misbehaves beside one that sends a small request now and then, and mustn't feel it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.simulation.chance import Chance
from tests.simulation.plan import Ask, Event, Fault, Loop, Plan, WorkerSpec
from tests.simulation.replica import SECRETS

_MODEST, _FLOOD = "alpha", "beta"
_TOKENS_PER_DOCUMENT = 9


def crowded(seed: int) -> Plan:
    """Closed loops of two keys: one asks for much less than its half of the workers, the other for more than all."""
    chance = Chance(f"{seed} crowded")
    duration_s, max_batch = round(chance.uniform(4, 8), 2), chance.choice([4, 8, 16, 32])
    workers = _workers(chance)
    settings: dict[str, Any] = {
        "api_keys": {name: SECRETS[name] for name in (_MODEST, _FLOOD)},
        "max_batch": max_batch,
        "min_batch": chance.randint(1, max_batch),
        "worker_min_documents": chance.choice([1, max_batch, 64]),
        "max_pending_documents_per_key": chance.choice([None, None, 4 * max_batch, 20 * max_batch]),
        "max_queue_wait_s": chance.choice([1.0, 5.0, 25.0]),
        "retry_reserve": chance.choice([4.0, 10.0]),
        "document_errors": chance.choice(["error", "lowest"]),
        "cache_across_keys": chance.random() < 0.5,
        "cache_max_bytes": chance.choice([0, 20_000]),
    }
    events = [_modest(chance, duration_s, max_batch), *_flood(chance, duration_s, max_batch)]
    if len(workers) > 1 and chance.random() < 0.5:
        events.append(_failing(chance, workers, duration_s))
    return Plan(
        seed=seed,
        settings=settings,
        workers=workers,
        events=tuple(events),
        modest_key=_MODEST,
        has_coarse_clock=chance.random() < 0.3,
        has_presence=chance.random() < 0.7,
    )


def _workers(chance: Chance) -> tuple[WorkerSpec, ...]:
    base = WorkerSpec(
        name="w1",
        fixed_s=chance.choice([0.0, 0.002]),
        per_token_s=round(chance.spread(0.002, 0.01) / _TOKENS_PER_DOCUMENT, 7),
        lanes=chance.choice([1, 1, 2]),
    )
    return tuple(replace(base, name=f"w{number + 1}") for number in range(chance.randint(1, 3)))


def _modest(chance: Chance, duration_s: float, max_batch: int) -> Loop:
    """One client, which waits at least as long as it was served before it asks again."""
    ask = Ask(at=0.0, key=_MODEST, documents=chance.randint(1, max_batch))
    return Loop(at=chance.moment(1.0), lasts_s=duration_s, think_s=chance.spread(0.1, 0.5), ask=ask)


def _flood(chance: Chance, duration_s: float, max_batch: int) -> Sequence[Event]:
    events = list[Event]()
    for number in range(chance.randint(1, 3)):
        documents = int(max_batch * chance.spread(0.5, 10)) or 1
        bad = tuple(sorted(chance.sample(range(documents), min(documents, 2))))
        ask = Ask(
            at=0.0,
            key=_FLOOD,
            query=1 + number,
            documents=documents,
            words=chance.sometimes(0.2, chance.randint(5, 20), 2),
            unreadable=chance.sometimes(0.4, bad, ()),
            priority=chance.sometimes(0.2, -5, 0),
            timeout_ms=chance.sometimes(0.3, chance.randint(50, 3000), None),
            leaves_after_s=chance.sometimes(0.3, chance.spread(0.01, 2), None),
            leaves_after_calls=chance.sometimes(0.2, chance.randint(1, 8), None),
            upload_s=chance.sometimes(0.1, chance.spread(0.01, 1), 0.0),
        )
        at = chance.moment(duration_s / 3)
        events.append(Loop(at=at, clients=chance.randint(2, 6), lasts_s=round(duration_s - at, 3), ask=ask))
    big = Ask(at=chance.moment(duration_s), key=_FLOOD, query=9, documents=max_batch * chance.randint(10, 50))
    return [*events, *chance.sometimes(0.3, [big], [])]


def _failing(chance: Chance, workers: Sequence[WorkerSpec], duration_s: float) -> Fault:
    """Some calls to one worker fail, so that both keys need retries."""
    return Fault(
        at=chance.moment(duration_s / 2),
        worker=chance.choice(workers).name,
        kind="error",
        lasts_s=round(duration_s / 2, 3),
        share=round(chance.uniform(0.05, 0.3), 2),
    )
