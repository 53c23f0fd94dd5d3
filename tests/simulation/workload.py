"""What clients of a run send: closed loops, big requests, requests of all sizes, and crowds that want the same."""

from dataclasses import replace

from tests.simulation.chance import Chance
from tests.simulation.plan import Ask, Event, Loop
from tests.simulation.scene import Scene

# How often a request has documents of an earlier one.
_AGAIN = 0.15
# Documents of more words are scored by passage.
_LONG_WORDS = 35
# How often the first of those who want the same has little time.
_FIRST_IS_SHORT = 0.4
# What the requests of a loop may be at most, so that a run stays short.
_MOST_IN_LOOP = 60


class Workload:
    """Draws what clients send."""

    def __init__(self, chance: Chance, scene: Scene) -> None:
        self._chance = chance
        self._scene = scene
        self._next_document = 1
        self._asked: list[tuple[int, int]] = []

    def draw(self) -> list[Event]:
        chance, events = self._chance, list[Event]()
        parts = [self._loop, self._loop, self._big, self._singles, self._crowd]
        for part in chance.sample(parts, chance.randint(1, 4)):
            events += part()
        return events

    def _ask(self, at: float, documents: int) -> Ask:
        chance = self._chance
        first, self._next_document = self._next_document, self._next_document + documents
        query = chance.randint(0, 3)
        if self._asked and chance.random() < _AGAIN:
            # What was asked before may be known, or have been forgotten.
            query, first = chance.choice(self._asked)
        self._asked.append((query, first))
        bad = tuple(sorted(chance.sample(range(documents), min(documents, chance.randint(1, 2)))))
        ask = Ask(
            at=at,
            key=chance.choice(self._scene.keys),
            model=chance.choice(self._scene.models),
            query=query,
            first=first,
            documents=documents,
            distinct=chance.sometimes(0.1, max(1, documents // 2), None),
            words=chance.sometimes(0.2, chance.randint(5, 60), 2),
            unreadable=chance.sometimes(0.04, bad, ()),
            priority=chance.sometimes(0.08, chance.choice([-1, 1]), 0),
            timeout_ms=chance.sometimes(0.12, chance.randint(20, 5000), None),
            cache=chance.choice(["default"] * 6 + ["no-store", "no-cache"]),
            leaves_after_s=chance.sometimes(0.1, chance.choice([0.0, chance.spread(0.001, 3)]), None),
            leaves_after_calls=chance.sometimes(0.08, chance.randint(1, 8), None),
            leaves_steps_later=chance.randint(0, 12),
            upload_s=chance.sometimes(0.04, chance.spread(0.001, 2), 0.0),
            has_long_query=chance.random() < 0.05,
            route=chance.choice(["/v1/rerank", "/v1/rerank", "/v1/score", "/rerank"]),
            replica=chance.randrange(self._scene.replicas),
        )
        return replace(ask, is_by_passage=ask.words > _LONG_WORDS)

    def _loop(self) -> list[Event]:
        """Some clients that send small requests, one after the other."""
        chance = self._chance
        clients, documents = chance.randint(1, 9), chance.randint(1, 2 * self._scene.max_batch)
        at = self._moment(0.3)
        lasts_s = round(chance.uniform(0.3, 1) * (self._scene.duration_s - at), 3)
        turn_s = max(0.05, documents * self._scene.per_document_s)
        think_s = chance.sometimes(0.5, chance.spread(0.01, 1), 0.0)
        lasts_s = min(lasts_s, round(_MOST_IN_LOOP * (turn_s + think_s) / clients, 3))
        ask = self._ask(0.0, documents)
        if chance.sometimes(0.7, given=True, otherwise=False):
            ask = replace(
                ask, unreadable=(), leaves_after_s=None, leaves_after_calls=None, timeout_ms=None, upload_s=0.0
            )
            ask = replace(ask, priority=0)
        is_fresh = chance.random() < 0.8
        return [Loop(at=at, clients=clients, lasts_s=lasts_s, think_s=think_s, ask=ask, is_fresh=is_fresh)]

    def _big(self) -> list[Event]:
        """Requests of many chunks."""
        chance = self._chance
        most = max(2, int(self._scene.duration_s / self._scene.per_document_s / 2))
        asks = []
        for _ in range(chance.randint(1, 3)):
            documents = min(most, 2000, self._scene.max_batch * int(chance.spread(3, 40)))
            ask = self._ask(self._moment(0.5), documents)
            asks.append(replace(ask, unreadable=(), timeout_ms=None))
        return list(asks)

    def _singles(self) -> list[Event]:
        """Requests of all sizes, at any time."""
        chance = self._chance
        count = chance.randint(1, 25)
        return [self._ask(self._moment(), int(chance.spread(1, 3 * self._scene.max_batch))) for _ in range(count)]

    def _crowd(self) -> list[Event]:
        """Requests for the same documents, or some of the same, at nearly the same time."""
        chance = self._chance
        like = self._ask(self._moment(0.8), chance.randint(1, 3 * self._scene.max_batch))
        if chance.random() < _FIRST_IS_SHORT:
            # What it began is over with its own time, while others want it.
            like = replace(like, timeout_ms=chance.randint(20, 2000), unreadable=(), leaves_after_s=None)
        crowd = []
        for _ in range(chance.randint(2, 8)):
            other = self._ask(round(like.at + chance.choice([0.0, chance.spread(0.001, 0.5)]), 4), like.documents)
            shift = chance.choice([0, 0, like.documents // 2])
            crowd.append(replace(other, query=like.query, model=like.model, first=like.first + shift))
        return [like, *crowd]

    def _moment(self, share: float = 1.0) -> float:
        return self._chance.moment(share * self._scene.duration_s)
