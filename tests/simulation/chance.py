"""From a seed to a plan: one source of chance decides everything that happens in a run."""

from collections.abc import Sequence
from dataclasses import replace
from math import exp, log
from random import Random
from typing import Any, TypeVar

from tests.simulation.plan import (
    Ask,
    Discover,
    Event,
    Fault,
    FaultKind,
    Loop,
    Measure,
    Operate,
    Plan,
    Replace,
    Route,
    Seen,
    Shared,
    Standstill,
    WorkerSpec,
)
from tests.simulation.replica import SECRETS

T = TypeVar("T")

# Tokens that a document has beside its words, with the query.
_TOKENS_PER_DOCUMENT = 9
_FLAPPING: Sequence[FaultKind] = ("down", "refuse", "hang", "error")
# How often a request has documents of an earlier one.
_AGAIN = 0.15
# Of a gateway's probe, and of a long document.
_PROBE_TOKENS = 64
_MANY_TOKENS = 20
# What the requests of a loop may be at most, so that a run stays short.
_MOST_IN_LOOP = 60
# Every so many seeds have a steady load, which takes ten times as long to run.
_STEADY_EVERY, _STEADY_FIRST = 100, 30
_ROUNDS, _ROUND_S, _PAUSE_S = 3, 13.0, 25.5
_ON_ROUTES: Sequence[tuple[FaultKind, tuple[Route, ...]]] = (
    ("refuse", ("score", "score", "identify", "tokenize", "all")),
    ("reset", ("score", "score", "identify", "tokenize")),
    ("break", ("score",)),
    ("hang", ("score", "score", "identify", "tokenize", "all")),
    ("drip", ("score", "identify", "tokenize")),
    ("lie", ("score",)),
    ("error", ("score", "identify", "tokenize")),
    ("busy", ("score", "score", "identify")),
    ("refuse_content", ("score",)),
    ("misconfigured", ("score", "identify")),
    ("down", ("all",)),
    ("freeze", ("all",)),
    ("slow", ("all",)),
)


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    return steady(seed) if seed % _STEADY_EVERY == _STEADY_FIRST else _Draw(seed).plan()


def steady(seed: int) -> Plan:
    """Several rounds of the same load and nothing else: closed loops, well workers that are alike, one model."""
    rng = Random(f"{seed} steady")
    max_batch = rng.choice([4, 8, 16, 32])
    keys: Sequence[str] = rng.choice([("anonymous",), ("anonymous",), ("alpha", "beta")])
    loops = [
        Loop(
            at=0.0,
            clients=rng.randint(4, 12),
            lasts_s=_ROUND_S,
            think_s=rng.choice([0.0, 0.0, 0.05, 0.3]),
            ask=Ask(at=0.0, key=rng.choice(keys), query=number, documents=rng.randint(max_batch // 2, 3 * max_batch)),
        )
        for number in range(rng.randint(1, 3))
    ]
    base = WorkerSpec(name="w1", per_token_s=rng.choice([0.001, 0.002, 0.004]))
    settings: dict[str, Any] = {
        "max_batch": max_batch,
        "min_batch": rng.randint(1, max_batch),
        "deadline_s": 25.0,
        "max_queue_wait_s": 25.0,
        "worker_min_documents": rng.choice([1, max_batch, 64]),
        "cache_max_bytes": rng.choice([0, 10_000]),
    }
    if len(keys) > 1:
        settings["api_keys"] = {name: SECRETS[name] for name in keys}
    # By the end of a round's pause everything is answered: no request has more than 25 seconds.
    begins = [number * (_ROUND_S + _PAUSE_S) for number in range(_ROUNDS)]
    events = [replace(loop, at=at) for at in begins for loop in loops]
    return Plan(
        seed=seed,
        settings=settings,
        workers=tuple(replace(base, name=f"w{number + 1}") for number in range(rng.randint(1, 3))),
        events=(*events, *(Measure(at=at + _ROUND_S + _PAUSE_S - 0.1) for at in begins)),
    )


class _Draw:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._rng = rng = Random(seed)
        self._duration_s = rng.choices(
            [self._spread(2, 10), self._spread(10, 40), self._spread(60, 300)], weights=[85, 13.5, 1.5]
        )[0]
        self._per_document_s = self._spread(0.001, 0.03)
        self._max_batch = rng.choice([2, 4, 4, 8, 8, 16, 64])
        self._keys: Sequence[str] = ("anonymous",) if rng.random() < 0.6 else tuple(SECRETS)[: rng.choice([2, 3])]
        self._is_calm = rng.random() < 0.35
        self._models: Sequence[str] = ("m",) if rng.random() < 0.9 else ("m", "n")
        self._replicas = 2 if rng.random() < 0.08 else 1
        if self._replicas > 1:
            # Keys would need a file with a secret.
            self._keys = ("anonymous",)
        self._next_document = 1
        self._asked: list[tuple[int, int]] = []
        self._workers = self._draw_workers()

    def plan(self) -> Plan:
        events = self._draw_workload()
        if not self._is_calm:
            events += self._draw_trouble()
        return Plan(
            seed=self._seed,
            settings=self._draw_settings(),
            workers=self._workers,
            events=tuple(sorted(events, key=lambda event: event.at)),
            replicas=self._replicas,
            has_coarse_clock=self._rng.random() < 0.3,
            has_presence=self._rng.random() < 0.7,
        )

    # Chance

    def _spread(self, least: float, most: float) -> float:
        """Between the two, as likely in each order of magnitude."""
        return round(exp(self._rng.uniform(log(least), log(most))), 4)

    def _sometimes(self, share: float, given: T, otherwise: T) -> T:
        return given if self._rng.random() < share else otherwise

    def _moment(self, share: float = 1.0) -> float:
        return round(self._rng.uniform(0, share * self._duration_s), 3)

    # The gateway and its workers

    def _draw_settings(self) -> dict[str, Any]:
        rng = self._rng
        deadline_s = round(self._sometimes(0.3, 25.0, self._spread(2, 25)), 2)
        drawn: dict[str, Any] = {
            "max_batch": self._max_batch,
            "min_batch": rng.randint(1, self._max_batch),
            "deadline_s": deadline_s,
            "no_worker_wait_s": round(min(5.0, deadline_s * rng.uniform(0.05, 0.9)), 2),
            "probe_interval_s": self._sometimes(0.3, 10.0, self._spread(0.5, 10)),
            "probe_timeout_s": round(max(self._least_probe_s(), self._sometimes(0.3, 5.0, self._spread(0.5, 5))), 2),
            "worker_min_documents": rng.choice([1, self._max_batch, self._max_batch, 2 * self._max_batch, 64]),
            "cache_max_bytes": rng.choice([0, 20_000, 2**20]),
            "max_queue_wait_s": self._sometimes(0.5, 5.0, self._spread(0.3, 25)),
        }
        others: Sequence[tuple[str, float, Any]] = (
            ("hedge", 0.2, True),
            ("cache", 0.3, False),
            ("max_attempts", 0.3, rng.randint(2, 8)),
            ("retry_ratio", 0.2, rng.choice([0.0, 0.05, 1.0])),
            ("retry_reserve", 0.2, rng.choice([0.0, 2.0, 10.0])),
            ("document_errors", 0.5, "lowest"),
            ("fallback", 0.1, "lexical"),
            ("max_batch_tokens", 0.1, rng.randint(20, 200)),
            ("worker_max_calls", 0.1, rng.randint(1, 4)),
            ("max_pending_documents", 0.1, rng.randint(10, 300)),
            ("max_pending_documents_per_key", 0.15, rng.randint(10, 300)),
            ("cache_ttl_s", 0.1, rng.randint(1, 10)),
        )
        drawn |= {name: value for name, share, value in others if rng.random() < share}
        if self._keys[0] != "anonymous":
            drawn["api_keys"] = {name: SECRETS[name] for name in self._keys}
            drawn["cache_across_keys"] = rng.random() < 0.5
        if self._replicas > 1:
            drawn["cache"] = True
        return drawn

    def _least_probe_s(self) -> float:
        """What a probe needs on the slowest worker, beside some chunks that it has."""
        slowest = max(self._workers, key=lambda spec: spec.per_token_s)
        probe_s = slowest.identify_s + len(slowest.models) * (slowest.fixed_s + _PROBE_TOKENS * slowest.per_token_s)
        chunk_s = slowest.fixed_s + self._max_batch * _MANY_TOKENS * slowest.per_token_s
        return 2 * probe_s + 4 * chunk_s

    def _draw_workers(self) -> tuple[WorkerSpec, ...]:
        rng = self._rng
        count = rng.choices([1, 2, 3, 4, 6], weights=[4, 4, 3, 2, 1])[0]
        are_alike = self._is_calm or rng.random() < 0.6
        base = WorkerSpec(
            name="w0",
            models=(self._models[0],),
            fixed_s=self._sometimes(0.3, 0.0, self._spread(0.001, 0.05)),
            per_token_s=round(self._per_document_s / _TOKENS_PER_DOCUMENT, 7),
            lanes=rng.choice([1, 1, 1, 2, 4]),
            identify_s=self._spread(0.001, 0.3),
        )
        workers = []
        for number in range(count):
            factor = 1.0 if are_alike else rng.uniform(1, 4)
            worker = replace(
                base,
                name=f"w{number + 1}",
                per_token_s=round(base.per_token_s * factor, 7),
                is_there=number == 0 or rng.random() < 0.93,
            )
            if len(self._models) > 1:
                worker = replace(worker, models=rng.choice([("m",), ("n",), ("m", "n")]))
            workers.append(worker)
        if len(self._models) > 1:
            workers[0] = replace(workers[0], models=tuple(self._models))
        return tuple(workers)

    # Clients

    def _draw_workload(self) -> list[Event]:
        rng, events = self._rng, list[Event]()
        parts = [self._loop, self._loop, self._big, self._singles, self._crowd]
        for part in rng.sample(parts, rng.randint(1, 4)):
            events += part()
        return events

    def _ask(self, at: float, documents: int) -> Ask:
        rng = self._rng
        first, self._next_document = self._next_document, self._next_document + documents
        query = rng.randint(0, 3)
        if self._asked and rng.random() < _AGAIN:
            # What was asked before may be known, or have been forgotten.
            query, first = rng.choice(self._asked)
        self._asked.append((query, first))
        bad = tuple(sorted(rng.sample(range(documents), min(documents, rng.randint(1, 2)))))
        return Ask(
            at=at,
            key=rng.choice(self._keys),
            model=rng.choice(self._models),
            query=query,
            first=first,
            documents=documents,
            distinct=self._sometimes(0.1, max(1, documents // 2), None),
            words=self._sometimes(0.2, rng.randint(5, 60), 2),
            unreadable=self._sometimes(0.04, bad, ()),
            priority=self._sometimes(0.08, rng.choice([-1, 1]), 0),
            timeout_ms=self._sometimes(0.12, rng.randint(20, 5000), None),
            cache=rng.choice(["default"] * 6 + ["no-store", "no-cache"]),
            leaves_after_s=self._sometimes(0.1, rng.choice([0.0, self._spread(0.001, 3)]), None),
            leaves_after_calls=self._sometimes(0.08, rng.randint(1, 8), None),
            leaves_steps_later=rng.randint(0, 12),
            upload_s=self._sometimes(0.04, self._spread(0.001, 2), 0.0),
            has_long_query=rng.random() < 0.05,
            route=rng.choice(["/v1/rerank", "/v1/rerank", "/v1/score", "/rerank"]),
            replica=rng.randrange(self._replicas),
        )

    def _loop(self) -> list[Event]:
        """Some clients that send small requests, one after the other."""
        rng = self._rng
        clients, documents = rng.randint(1, 9), rng.randint(1, 2 * self._max_batch)
        at = self._moment(0.3)
        lasts_s = round(rng.uniform(0.3, 1) * (self._duration_s - at), 3)
        turn_s = max(0.05, documents * self._per_document_s)
        think_s = self._sometimes(0.5, self._spread(0.01, 1), 0.0)
        lasts_s = min(lasts_s, round(_MOST_IN_LOOP * (turn_s + think_s) / clients, 3))
        ask = self._ask(0.0, documents)
        if self._sometimes(0.7, given=True, otherwise=False):
            ask = replace(
                ask, unreadable=(), leaves_after_s=None, leaves_after_calls=None, timeout_ms=None, upload_s=0.0
            )
            ask = replace(ask, priority=0)
        is_fresh = rng.random() < 0.8
        return [Loop(at=at, clients=clients, lasts_s=lasts_s, think_s=think_s, ask=ask, is_fresh=is_fresh)]

    def _big(self) -> list[Event]:
        """Requests of many chunks."""
        rng = self._rng
        most = max(2, int(self._duration_s / self._per_document_s / 2))
        asks = []
        for _ in range(rng.randint(1, 3)):
            documents = min(most, 2000, self._max_batch * int(self._spread(3, 40)))
            ask = self._ask(self._moment(0.5), documents)
            asks.append(replace(ask, unreadable=(), timeout_ms=None))
        return list(asks)

    def _singles(self) -> list[Event]:
        """Requests of all sizes, at any time."""
        rng = self._rng
        count = rng.randint(1, 25)
        return [self._ask(self._moment(), int(self._spread(1, 3 * self._max_batch))) for _ in range(count)]

    def _crowd(self) -> list[Event]:
        """Requests for the same documents, or some of the same, at nearly the same time."""
        rng = self._rng
        like = self._ask(self._moment(0.8), rng.randint(1, 3 * self._max_batch))
        crowd = []
        for _ in range(rng.randint(2, 8)):
            other = self._ask(round(like.at + rng.choice([0.0, self._spread(0.001, 0.5)]), 4), like.documents)
            shift = rng.choice([0, 0, like.documents // 2])
            crowd.append(replace(other, query=like.query, model=like.model, first=like.first + shift))
        return [like, *crowd]

    # Trouble

    def _draw_trouble(self) -> list[Event]:
        rng, events = self._rng, list[Event]()
        count = rng.randint(1, 5) if self._duration_s < 60 else rng.randint(3, 15)
        for _ in range(count):
            one = rng.choices(
                [
                    self._fault,
                    self._flapping,
                    self._replacement,
                    self._discovery,
                    self._order,
                    self._standstill,
                    self._shared_trouble,
                ],
                weights=[66, 4, 9, 10, 8, 2, 4 if self._replicas > 1 else 0],
            )[0]
            events += one()
        return events

    def _fault(self) -> list[Event]:
        rng = self._rng
        kind, routes = rng.choice(_ON_ROUTES)
        amount = 0.0
        if kind == "drip":
            amount = self._spread(0.01, 5)
        elif kind == "slow":
            amount = self._spread(1.5, 30)
        elif kind == "busy":
            amount = float(rng.choice([0, 0, 1, 2, 5, 20, 3600]))
        return [
            Fault(
                at=self._moment(),
                worker=rng.choice(self._workers).name,
                kind=kind,
                route=rng.choice(routes),
                lasts_s=self._spread(0.02, max(0.1, self._duration_s / 2)),
                amount=amount,
                share=self._sometimes(0.3, round(rng.uniform(0.1, 0.9), 2), 1.0),
            )
        ]

    def _flapping(self) -> list[Event]:
        """A worker that fails again and again."""
        rng = self._rng
        worker, kind = rng.choice(self._workers).name, rng.choice(_FLAPPING)
        at, lasts_s, events = self._moment(0.5), self._spread(0.1, 2), list[Event]()
        for _ in range(rng.randint(3, 12)):
            route: Route = "all" if kind == "down" else "score"
            events.append(Fault(at=round(at, 4), worker=worker, kind=kind, route=route, lasts_s=lasts_s))
            at += lasts_s + self._spread(0.3, 5)
        return events

    def _replacement(self) -> list[Event]:
        rng = self._rng
        is_version = rng.random() < 0.4
        return [
            Replace(
                at=self._moment(),
                worker=rng.choice(self._workers).name,
                down_s=self._spread(0.02, 5),
                weights=None if is_version else rng.randint(0, 3),
                version=str(rng.randint(2, 4)) if is_version else None,
            )
        ]

    def _discovery(self) -> list[Event]:
        rng = self._rng
        worker, at = rng.choice(self._workers).name, self._moment()
        events: list[Event] = []
        for _ in range(rng.randint(1, 3)):
            seen: Seen = rng.choice(["gone", "waiting"])
            later = round(at + self._spread(0.01, 5), 4)
            events += [Discover(at=at, worker=worker, seen=seen), Discover(at=later, worker=worker, seen="ready")]
            at = round(later + self._spread(0.01, 5), 4)
        return events

    def _order(self) -> list[Event]:
        rng = self._rng
        worker, at, replica = rng.choice(self._workers).name, self._moment(), rng.randrange(self._replicas)
        match rng.choice(["drain", "flush", "reload", "stop"]):
            case "drain":
                later = round(at + self._spread(0.01, 5), 4)
                return [
                    Operate(at=at, order="drain", subject=worker, replica=replica),
                    Operate(at=later, order="undrain", subject=worker, replica=replica),
                ]
            case "flush":
                return [Operate(at=at, order="flush", subject=rng.choice(self._models), replica=replica)]
            case "reload":
                return [Operate(at=at, order="reload", replica=replica)]
            case _:
                return [Operate(at=at, order="stop", replica=replica)]

    def _standstill(self) -> list[Event]:
        return [Standstill(at=self._moment(), lasts_s=self._spread(0.05, 20))]

    def _shared_trouble(self) -> list[Event]:
        rng = self._rng
        return [
            Shared(
                at=self._moment(),
                problem=rng.choice(["gone", "silent", "slow", "flushed", "evicted", "full"]),
                lasts_s=self._spread(0.1, 5),
            )
        ]
