"""A fair queue: equal shares of documents, first among API keys, then among a key's requests.

Weighted fair queueing (Demers, Keshav and Shenker 1989) on two levels. Each that waits has a virtual time of its own:
how many documents it has been granted since it came, counted from the common time at which it came. The item that would
be done first goes next, so nobody gets ahead of another by more than an item of each.

The common time is how far everybody would be, had all been granted evenly. It passes with every document that is
granted, divided by how many wait. That matters: when it was the time of the next in order, newcomers that all began
there kept it still, and eight clients of 32 documents let no request of 1000 have its second chunk.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")
F = TypeVar("F")
W = TypeVar("W", bound="_Flow")

# So many outdated entries a heap may have beside twice the valid ones.
_MOST_OUTDATED = 64


@dataclass(slots=True, eq=False)
class _Flow:
    """The waiting items of one request, or of one key.

    Args:
        name: Its name in its level.
        time: When its next item begins, in virtual time.
        due: When that item will be done.
        documents: How many wait.
        place: The number of its valid entry in its level's order; -1 for none.
    """

    name: object
    time: float
    due: float = 0.0
    documents: int = 0
    place: int = -1

    def next_documents(self) -> int:
        """The documents of its next item; at least one waits."""
        raise NotImplementedError


class _Level(Generic[W]):
    """Flows that share evenly: in documents granted, none gets ahead of another by more than an item of each.

    Args:
        make: Makes a flow from its name and the time at which it begins.
        remembers: Whether flows come back. One of which nothing waits for a moment then goes on where it was: what it
            had beyond its share isn't forgotten, nor what it had not, up to an item.
    """

    def __init__(self, make: Callable[[object, float], W], *, remembers: bool) -> None:
        self.flows: dict[object, W] = {}
        self.waiting = 0
        self._make = make
        self._remembers = remembers
        self._time = 0.0
        self._largest = 0
        self._places = count()
        # By when the next item is due; entries may be outdated.
        self._order: list[tuple[float, int, W]] = []

    def flow(self, name: object) -> W:
        """The flow of that name; a new one begins now, with no claim and no debt."""
        found = self.flows.get(name)
        if found is None:
            found = self.flows[name] = self._make(name, self._time)
        return found

    def first(self, find: Callable[[W], F | None]) -> tuple[W, F] | None:
        """The next flow in fair order in which `find` finds something, and what that is."""
        passed = []
        found = None
        while found is None and self._order:
            entry = heappop(self._order)
            if entry[1] == entry[2].place:
                passed.append(entry)
                found = find(entry[2])
        for entry in passed:
            heappush(self._order, entry)
        return None if found is None else (passed[-1][2], found)

    def add(self, flow: W, documents: int) -> None:
        """Count one more waiting item of so many documents."""
        self._largest = max(self._largest, documents)
        if not flow.documents:
            self.waiting += 1
            flow.time = max(flow.time, self._time - self._largest)
        flow.documents += documents
        self._list(flow)

    def leave(self, flow: W, documents: int, *, is_granted: bool) -> None:
        """Count one waiting item less, of so many documents; when it was granted, time passes."""
        if is_granted:
            began, flow.time = flow.time, flow.time + documents
            # Not behind the flow that is served now, nor beyond its item: all that wait are due then or later, so a
            # newcomer finds each of them an item of it away at most, behind or ahead.
            passed = self._time + documents / self.waiting
            self._time = max(self._time, began, min(passed, flow.time))
        flow.documents -= documents
        self._list(flow)

    def _list(self, flow: W) -> None:
        """Put a flow in its present place in the order; its earlier entry becomes outdated."""
        if not flow.documents:
            flow.place = -1
            self.waiting -= 1
            if not self._remembers:
                del self.flows[flow.name]
            return
        due = flow.time + flow.next_documents()
        if flow.place >= 0 and due == flow.due:
            return
        flow.due, flow.place = due, next(self._places)
        heappush(self._order, (due, flow.place, flow))
        if len(self._order) > _MOST_OUTDATED + 2 * len(self.flows):
            self._order = [entry for entry in self._order if entry[1] == entry[2].place]
            heapify(self._order)


@dataclass(slots=True, eq=False)
class _Request(_Flow, Generic[T]):
    """One request's waiting items, each with its documents."""

    items: deque[tuple[T, int]] = field(default_factory=deque)

    def next_documents(self) -> int:
        return self.items[0][1]

    def first(self, fits: Callable[[T], F]) -> tuple[tuple[T, int], F] | None:
        """The first item for which `fits` gives something, and what that is."""
        return next(((waiting, fit) for waiting in self.items if (fit := fits(waiting[0]))), None)


@dataclass(slots=True, eq=False)
class _Key(_Flow, Generic[T]):
    """One API key's waiting requests, by priority: the lower goes first, and only equal ones share."""

    levels: "dict[int, _Level[_Request[T]]]" = field(default_factory=dict)

    def next_documents(self) -> int:
        found = self.first(lambda request: request)
        return found[1].next_documents() if found else 0

    def first(self, find: Callable[[_Request[T]], F | None]) -> tuple[_Request[T], F] | None:
        """The next request in order in which `find` finds something, and what that is."""
        for _, level in sorted(self.levels.items()) if len(self.levels) > 1 else self.levels.items():
            if found := level.first(find):
                return found
        return None

    def requests(self) -> list[_Request[T]]:
        """The requests that wait."""
        return [request for level in self.levels.values() for request in level.flows.values()]

    def level_of(self, request: object) -> _Level[_Request[T]] | None:
        """The level in which a request waits; None when it doesn't."""
        return next((level for level in self.levels.values() if request in level.flows), None)

    def leave(self, request: _Request[T], documents: int, *, is_granted: bool) -> None:
        """Count one waiting item less, as `_Level.leave`; a level without flows is forgotten."""
        for priority, level in self.levels.items():
            if request.name in level.flows:
                level.leave(request, documents, is_granted=is_granted)
                if not level.flows:
                    del self.levels[priority]
                return


class FairQueue(Generic[T]):
    """The items that wait, taken in fair order; `documents` are all of theirs."""

    def __init__(self) -> None:
        self._keys: _Level[_Key[T]] = _Level(_Key, remembers=True)
        self._length = 0
        self.documents = 0

    def __len__(self) -> int:
        return self._length

    def push(self, item: T, *, key: str, request: object, documents: int, priority: int = 0) -> None:
        """Let `item` wait.

        Args:
            item: What `take` gives back.
            key: Whose share it counts against.
            request: Which of the key's requests it belongs to; any hashable that names it.
            documents: What taking it costs, at least 1.
            priority: Lower goes first among the key's requests.
        """
        owner = self._keys.flow(key)
        level = owner.levels.get(priority)
        if level is None:
            level = owner.levels[priority] = _Level(_Request, remembers=False)
        claim = level.flow(request)
        claim.items.append((item, documents))
        level.add(claim, documents)
        self._keys.add(owner, documents)
        self._length += 1
        self.documents += documents

    def take(self, fits: Callable[[T], F]) -> tuple[T, F] | None:
        """The next item in fair order for which `fits` gives something, and what that is; None when none does."""
        found = self._keys.first(lambda owner: owner.first(lambda claim: claim.first(fits)))
        if found is None:
            return None
        owner, (claim, (waiting, fit)) = found
        self._leave(owner, claim, waiting, is_granted=True)
        return waiting[0], fit

    def remove(self, item: T, *, key: str, request: object) -> bool:
        """Take `item` out ungranted; False when it wasn't waiting."""
        owner = self._keys.flows.get(key)
        level = owner.level_of(request) if owner else None
        if owner is None or level is None:
            return False
        claim = level.flows[request]
        waiting = next((waiting for waiting in claim.items if waiting[0] is item), None)
        if waiting is not None:
            self._leave(owner, claim, waiting, is_granted=False)
        return waiting is not None

    def waiting_of(self, key: str, request: object = None) -> int:
        """The documents of a request that wait, or of all requests of a key when none is named."""
        owner = self._keys.flows.get(key)
        if owner is None or request is None:
            return owner.documents if owner else 0
        level = owner.level_of(request)
        return level.flows[request].documents if level else 0

    def documents_before(self, *, key: str, documents: int) -> int:
        """The documents waiting now that will be granted before a new request of `documents` is done."""
        if not self._length:
            return 0
        owner = self._keys.flows.get(key)
        own = sum(min(claim.documents, documents) for claim in owner.requests()) if owner else 0
        others = sum(min(other.documents, own + documents) for name, other in self._keys.flows.items() if name != key)
        return own + others

    def most_before(self, *, key: str, documents: int) -> int:
        """The documents granted before a new request is done if as many requests go on to wait as do now."""
        owner = self._keys.flows.get(key)
        requests = 1 + (len(owner.requests()) if owner else 0)
        keys = self._keys.waiting + (owner is None or not owner.documents)
        return documents * (keys * requests - 1)

    def _leave(self, owner: _Key[T], claim: _Request[T], waiting: tuple[T, int], *, is_granted: bool) -> None:
        claim.items.remove(waiting)
        owner.leave(claim, waiting[1], is_granted=is_granted)
        self._keys.leave(owner, waiting[1], is_granted=is_granted)
        self._length -= 1
        self.documents -= waiting[1]
        if not self._length:
            self._keys = _Level(_Key, remembers=True)
