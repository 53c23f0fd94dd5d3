"""What goes wrong in a run: with workers, discovery, the process, the cache that replicas share, and by orders."""

from collections.abc import Sequence

from tests.simulation.chance import Chance
from tests.simulation.plan import (
    Discover,
    Event,
    Fault,
    FaultKind,
    Operate,
    Replace,
    Route,
    Seen,
    Shared,
    Standstill,
)
from tests.simulation.scene import Scene

_FLAPPING: Sequence[FaultKind] = ("down", "refuse", "hang", "error")
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


class Mishaps:
    """Draws what goes wrong."""

    def __init__(self, chance: Chance, scene: Scene) -> None:
        self._chance = chance
        self._scene = scene

    def draw(self) -> list[Event]:
        chance, events = self._chance, list[Event]()
        count = chance.randint(1, 5) if self._scene.duration_s < 60 else chance.randint(3, 15)
        for _ in range(count):
            one = chance.choices(
                [
                    self._fault,
                    self._flapping,
                    self._replacement,
                    self._discovery,
                    self._order,
                    self._standstill,
                    self._shared_cache,
                ],
                weights=[66, 4, 9, 10, 8, 2, 4 if self._scene.replicas > 1 else 0],
            )[0]
            events += one()
        return events

    def _fault(self) -> list[Event]:
        chance = self._chance
        kind, routes = chance.choice(_ON_ROUTES)
        amount = 0.0
        if kind == "drip":
            amount = chance.spread(0.01, 5)
        elif kind == "slow":
            amount = chance.spread(1.5, 30)
        elif kind == "busy":
            amount = float(chance.choice([0, 0, 1, 2, 5, 20, 3600]))
        return [
            Fault(
                at=self._moment(),
                worker=chance.choice(self._scene.workers).name,
                kind=kind,
                route=chance.choice(routes),
                lasts_s=chance.spread(0.02, max(0.1, self._scene.duration_s / 2)),
                amount=amount,
                share=chance.sometimes(0.3, round(chance.uniform(0.1, 0.9), 2), 1.0),
            )
        ]

    def _flapping(self) -> list[Event]:
        """A worker that fails again and again."""
        chance = self._chance
        worker, kind = chance.choice(self._scene.workers).name, chance.choice(_FLAPPING)
        at, lasts_s, events = self._moment(0.5), chance.spread(0.1, 2), list[Event]()
        for _ in range(chance.randint(3, 12)):
            route: Route = "all" if kind == "down" else "score"
            events.append(Fault(at=round(at, 4), worker=worker, kind=kind, route=route, lasts_s=lasts_s))
            at += lasts_s + chance.spread(0.3, 5)
        return events

    def _replacement(self) -> list[Event]:
        chance = self._chance
        is_version = chance.random() < 0.4
        return [
            Replace(
                at=self._moment(),
                worker=chance.choice(self._scene.workers).name,
                down_s=chance.spread(0.02, 5),
                weights=None if is_version else chance.randint(0, 3),
                version=str(chance.randint(2, 4)) if is_version else None,
            )
        ]

    def _discovery(self) -> list[Event]:
        chance = self._chance
        worker, at = chance.choice(self._scene.workers).name, self._moment()
        events: list[Event] = []
        for _ in range(chance.randint(1, 3)):
            seen: Seen = chance.choice(["gone", "waiting"])
            later = round(at + chance.spread(0.01, 5), 4)
            events += [Discover(at=at, worker=worker, seen=seen), Discover(at=later, worker=worker, seen="ready")]
            at = round(later + chance.spread(0.01, 5), 4)
        return events

    def _order(self) -> list[Event]:
        chance = self._chance
        worker, at, replica = (
            chance.choice(self._scene.workers).name,
            self._moment(),
            chance.randrange(self._scene.replicas),
        )
        match chance.choice(["drain", "flush", "reload", "stop"]):
            case "drain":
                later = round(at + chance.spread(0.01, 5), 4)
                return [
                    Operate(at=at, order="drain", subject=worker, replica=replica),
                    Operate(at=later, order="undrain", subject=worker, replica=replica),
                ]
            case "flush":
                return [Operate(at=at, order="flush", subject=chance.choice(self._scene.models), replica=replica)]
            case "reload":
                return [Operate(at=at, order="reload", replica=replica)]
            case _:
                return [Operate(at=at, order="stop", replica=replica)]

    def _standstill(self) -> list[Event]:
        return [Standstill(at=self._moment(), lasts_s=self._chance.spread(0.05, 20))]

    def _shared_cache(self) -> list[Event]:
        chance = self._chance
        return [
            Shared(
                at=self._moment(),
                problem=chance.choice(["gone", "silent", "slow", "flushed", "evicted", "full"]),
                lasts_s=chance.spread(0.1, 5),
            )
        ]

    def _moment(self, share: float = 1.0) -> float:
        return self._chance.moment(share * self._scene.duration_s)
