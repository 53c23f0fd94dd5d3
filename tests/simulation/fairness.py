"""Fair shares, as seen from the workers: whose documents reach them while several wait.

A request waits from when it was let in until its last documents were sent. All of one moment of virtual time counts as
one: in which order tasks run within it says nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import NamedTuple

from tests.simulation.clock import START_S
from tests.simulation.outcome import Outcome
from tests.simulation.record import Request

# Pairs of requests that are compared in one run; more only cost time.
_MOST_PAIRS = 300
# The next chunk of one goes whole before the other's, so over any window each may have had one that is due later; and
# one that comes may find the other ahead by its chunk, however small its own are. A key that comes back may beside that
# be as far behind or ahead as a chunk of its own.
_LARGEST_CHUNKS_OF_REQUESTS = 2
_CHUNKS_OF_KEYS = 2
# A share may be late by so much of what it should have been, beside whole chunks.
_TOLERANCE = 1.5


class Grant(NamedTuple):
    """Documents of a request reached a worker."""

    at: float
    documents: int


@dataclass(slots=True)
class Wait:
    """One request's time in the queue.

    Args:
        request: Whose.
        since: When it was let in.
        until: When its last documents were sent, or it gave up.
        grants: What was sent, in order.
        largest: Its largest chunk, in documents, also if it was sent later; all of it when none ever was.
        is_clear: Whether it can be told from outside what of it waits: no other request has any of its pairs.
    """

    request: Request
    since: float
    until: float
    grants: list[Grant]
    largest: int
    is_clear: bool

    @property
    def key(self) -> str:
        return self.request.ask.key

    @property
    def priority(self) -> int:
        return self.request.ask.priority


def requests_share_evenly(outcome: Outcome) -> Iterator[str]:
    """While two requests of a key wait, as many documents of each are sent, but for two of the larger chunks."""
    for waits in _waits_by_model(outcome):
        several = [wait for wait in waits if len(wait.grants) > 1 and wait.is_clear]
        pairs = [(a, b) for a, b in combinations(several, 2) if a.key == b.key and a.priority == b.priority]
        for one, other in pairs[:_MOST_PAIRS]:
            since, until = max(one.since, other.since), min(one.until, other.until)
            apart = _furthest_apart(one.grants, other.grants, since, until)
            allowed = _LARGEST_CHUNKS_OF_REQUESTS * max(one.largest, other.largest)
            if apart > allowed:
                yield (
                    f"{one.request.id} and {other.request.id} of {one.key} both waited from {since - START_S:.3f} "
                    f"to {until - START_S:.3f} s, and one got {apart} documents more; chunks allow {allowed}"
                )


def keys_share_evenly(outcome: Outcome) -> Iterator[str]:
    """While two keys have something waiting, as many documents of each are sent, but for two chunks of each."""
    for waits in _waits_by_model(outcome):
        by_key = {key: own for key, own in _by_key(waits).items() if all(wait.is_clear for wait in own)}
        spans = {key: _spans(own) for key, own in by_key.items()}
        for one, other in combinations(sorted(spans), 2):
            grants = {
                key: sorted(grant for wait in waits if wait.key == key for grant in wait.grants) for key in (one, other)
            }
            allowed = _CHUNKS_OF_KEYS * sum(max(wait.largest for wait in by_key[key]) for key in (one, other))
            for since, until in _overlaps(spans[one], spans[other]):
                apart = _furthest_apart(grants[one], grants[other], since, until)
                if apart > allowed:
                    yield (
                        f"{one} and {other} both had documents waiting from {since - START_S:.3f} to "
                        f"{until - START_S:.3f} s, and one got {apart} documents more; chunks allow {allowed}"
                    )


def nobody_is_passed_over(outcome: Outcome) -> Iterator[str]:
    """A request that waits has its next chunk sent before others get more than their fair shares of documents."""
    for waits in _waits_by_model(outcome):
        grants = sorted(
            ((grant.at, grant.documents, wait) for wait in waits for grant in wait.grants), key=lambda g: g[0]
        )
        largest = max((wait.largest for wait in waits), default=0)
        for wait in waits:
            if not wait.is_clear or any(other.key == wait.key and other.priority != wait.priority for other in waits):
                continue
            turns = [wait.since, *(grant.at for grant in wait.grants if grant.at < wait.until), wait.until]
            for since, until in pairwise(turns):
                passed = sum(size for at, size, whose in grants if since < at < until and whose is not wait)
                if passed <= 2 * largest:
                    continue
                beside = [other for other in waits if other.since < until and other.until > since]
                keys, mates = _most_at_once(beside, wait.key, since, until)
                allowed = _TOLERANCE * keys * (mates + 1) * largest
                if passed > allowed:
                    yield (
                        f"{wait.request.id} waited for its next chunk from {since - START_S:.3f} to "
                        f"{until - START_S:.3f} s, while {passed} documents of others were sent; with {keys} keys "
                        f"and {mates} requests of its own key waiting, its turn comes after {allowed:.0f}"
                    )


def _waits_by_model(outcome: Outcome) -> list[list[Wait]]:
    """All waits of each model, up to the first trouble; none where it can't be told from outside who waits."""
    plan, record = outcome.plan, outcome.record
    models = {model for spec in plan.workers for model in spec.models}
    speeds = {(spec.fixed_s, spec.per_token_s, spec.lanes) for spec in plan.workers}
    if plan.replicas > 1 or outcome.settings.hedge or len(speeds) > 1 or len(models) > 1 or record.standstills:
        return []
    until = min((one.since for one in record.problems), default=outcome.quiet_at)
    asked = Counter((one.query, text) for one in record.requests for text in set(one.documents))
    calls: defaultdict[str, list[Grant]] = defaultdict(list)
    for call in record.calls:
        if not call.is_probe:
            calls[call.request_id].append(Grant(call.began, len(call.documents)))
    waits = []
    for request in record.requests:
        if request.began >= until:
            break
        wait = _wait(request, calls.get(request.id, []), until)
        if wait:
            wait.is_clear = wait.is_clear and all(asked[request.query, text] == 1 for text in request.documents)
            waits.append(wait)
    return [waits]


def _wait(request: Request, calls: Sequence[Grant], until: float) -> Wait | None:
    """When the request waited, until then at most; None when it didn't."""
    grants = [grant for grant in calls if grant.at < until]
    if not grants and request.ended <= request.began:
        return None
    ask, gone = request.ask, min(request.ended, request.left, until)
    is_clear = not (ask.unreadable or ask.upload_s or ask.has_long_query or ask.is_by_passage)
    sent = sum(grant.documents for grant in grants)
    # What was sent twice says nothing about shares: a call was given up.
    is_all_sent, is_clear = sent >= request.distinct, is_clear and sent <= request.distinct
    ended = min(grants[-1].at, gone) if is_all_sent else gone
    largest = max((grant.documents for grant in calls), default=request.distinct)
    return Wait(request, request.began, ended, grants, largest, is_clear)


def _furthest_apart(one: Sequence[Grant], other: Sequence[Grant], since: float, until: float) -> int:
    """By how many documents two differ over the part of a window in which they differ most."""
    moments: defaultdict[float, int] = defaultdict(int)
    for grants, sign in ((one, 1), (other, -1)):
        for grant in grants:
            if since < grant.at < until:
                moments[grant.at] += sign * grant.documents
    ahead = least = most = 0
    for at in sorted(moments):
        ahead += moments[at]
        least, most = min(least, ahead), max(most, ahead)
    return most - least


def _by_key(waits: Sequence[Wait]) -> dict[str, list[Wait]]:
    found: defaultdict[str, list[Wait]] = defaultdict(list)
    for wait in waits:
        found[wait.key].append(wait)
    return found


def _spans(waits: Sequence[Wait]) -> list[tuple[float, float]]:
    """The times in which some of them wait, as long ones as possible."""
    spans: list[tuple[float, float]] = []
    for wait in sorted(waits, key=lambda wait: wait.since):
        if wait.until <= wait.since:
            continue
        # One that ends in the moment another begins may leave a moment between.
        if spans and wait.since < spans[-1][1]:
            spans[-1] = spans[-1][0], max(spans[-1][1], wait.until)
        else:
            spans.append((wait.since, wait.until))
    return spans


def _overlaps(
    some: Sequence[tuple[float, float]], others: Sequence[tuple[float, float]]
) -> Iterator[tuple[float, float]]:
    for begin, end in some:
        for start, stop in others:
            if max(begin, start) < min(end, stop):
                yield max(begin, start), min(end, stop)


def _most_at_once(waits: Sequence[Wait], key: str, since: float, until: float) -> tuple[int, int]:
    """How many keys, and how many requests of one key, waited at the same time at most."""
    moments = sorted({since, *(wait.since for wait in waits if since < wait.since < until)})
    keys = mates = 1
    for at in moments:
        there = [wait for wait in waits if wait.since <= at and wait.until >= at]
        keys = max(keys, len({wait.key for wait in there}))
        mates = max(mates, sum(wait.key == key for wait in there))
    return keys, mates
