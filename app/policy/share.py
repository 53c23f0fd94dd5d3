"""Whose chunk is next: fair shares of documents, first among API keys, then among a key's requests.

Start-time fair queueing (Goyal, Vin and Cheng 1996) on two levels. Everybody has a virtual time that grows by the
documents granted to them, and the smallest is served. Who comes anew starts at the time of the last one served: nobody
saves up a claim by being idle, and nobody pays for what was granted while they weren't there. So a request of ten
documents waits for what is on the workers, not for the thousands queued before it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")
F = TypeVar("F")


@dataclass(slots=True, eq=False)
class _Request(Generic[T]):
    """One request's waiting items, each with its documents."""

    name: object
    priority: int
    time: float
    items: deque[tuple[T, int]] = field(default_factory=deque)
    documents: int = 0


@dataclass(slots=True, eq=False)
class _Key(Generic[T]):
    """One API key's requests. `order` holds each waiting one once; one that left since is skipped when it comes up."""

    time: float
    served: float = 0.0
    documents: int = 0
    requests: dict[object, _Request[T]] = field(default_factory=dict)
    order: list[tuple[int, float, int, _Request[T]]] = field(default_factory=list)


class FairQueue(Generic[T]):
    """Waiting items, taken in fair order."""

    def __init__(self) -> None:
        self._keys: dict[str, _Key[T]] = {}
        self._served = 0.0
        self._arrivals = count()
        self._length = 0
        self._documents = 0

    def __len__(self) -> int:
        return self._length

    @property
    def documents(self) -> int:
        """All documents that wait."""
        return self._documents

    def push(self, item: T, *, key: str, request: object, documents: int, priority: int = 0) -> None:
        """Let `item` wait.

        Args:
            item: What `take` gives back.
            key: Whose share it counts against.
            request: Which of the key's requests it belongs to; any hashable that names it.
            documents: What taking it costs.
            priority: Lower goes first among the key's requests.
        """
        owner = self._keys.setdefault(key, _Key(time=self._served))
        claim = owner.requests.get(request)
        if claim is None:
            claim = owner.requests[request] = _Request(name=request, priority=priority, time=owner.served)
            self._enter(owner, claim)
        claim.items.append((item, documents))
        claim.documents += documents
        owner.documents += documents
        self._documents += documents
        self._length += 1

    def take(self, fits: Callable[[T], F]) -> tuple[T, F] | None:
        """The next item in fair order for which `fits` gives something, and what that is; None when none does."""
        for key, owner in sorted(self._keys.items(), key=lambda entry: entry[1].time):
            passed = []
            found = None
            while owner.order and found is None:
                entry = heappop(owner.order)
                if entry[-1].items:
                    passed.append(entry)
                    found = next(((waiting, fit) for waiting in entry[-1].items if (fit := fits(waiting[0]))), None)
            for entry in passed if found is None else passed[:-1]:
                heappush(owner.order, entry)
            if found is not None:
                waiting, fit = found
                self._grant(key, owner, passed[-1][-1], waiting)
                return waiting[0], fit
        return None

    def remove(self, item: T, *, key: str, request: object) -> bool:
        """Take `item` out unserved; False when it wasn't waiting."""
        owner = self._keys.get(key)
        claim = owner.requests.get(request) if owner else None
        if owner is None or claim is None:
            return False
        waiting = next((waiting for waiting in claim.items if waiting[0] is item), None)
        if waiting is not None:
            self._leave(key, owner, claim, waiting)
        return waiting is not None

    def waiting_of(self, key: str, request: object = None) -> int:
        """How many documents of a request wait, or of all requests of a key when none is named."""
        owner = self._keys.get(key)
        claim = owner.requests.get(request) if owner and request is not None else owner
        return claim.documents if claim else 0

    def documents_before(self, *, key: str, documents: int) -> int:
        """How many waiting documents will be served before a new request of `documents` is done."""
        if not self._length:
            return 0
        owner = self._keys.get(key)
        own = sum(min(claim.documents, documents) for claim in owner.requests.values()) if owner else 0
        others = sum(min(other.documents, own + documents) for name, other in self._keys.items() if name != key)
        return own + others

    def _enter(self, owner: _Key[T], claim: _Request[T]) -> None:
        heappush(owner.order, (claim.priority, claim.time, next(self._arrivals), claim))

    def _grant(self, key: str, owner: _Key[T], claim: _Request[T], waiting: tuple[T, int]) -> None:
        self._served, owner.served = owner.time, claim.time
        owner.time += waiting[1]
        claim.time += waiting[1]
        self._leave(key, owner, claim, waiting)
        if claim.items:
            self._enter(owner, claim)

    def _leave(self, key: str, owner: _Key[T], claim: _Request[T], waiting: tuple[T, int]) -> None:
        claim.items.remove(waiting)
        claim.documents -= waiting[1]
        owner.documents -= waiting[1]
        self._documents -= waiting[1]
        self._length -= 1
        if not claim.items:
            del owner.requests[claim.name]
        if not owner.requests:
            del self._keys[key]
