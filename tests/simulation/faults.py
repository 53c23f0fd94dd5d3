"""Faults to plant in the gateway, each in place of one function or rule: what the simulation has to find."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import app.api.body
import app.api.rerank
import app.cache.memory_tier
import app.cache.score_cache
import app.policy.breaker
import app.policy.fair_queue
import app.policy.model_change
import app.policy.pair_digest
import app.queueing.admission
import app.queueing.scheduler
import app.scoring.attempts
import app.scoring.gateway
import app.scoring.singleflight
import app.workers.prober
import app.workers.registry
import app.workers.worker
from app.types import Answer


class Planted(NamedTuple):
    """A fault.

    Args:
        says: What is wrong, in a line.
        owner: The module or class whose `name` is replaced.
        name: Of the function or rule.
        wrong: Makes the wrong one from the right one.
    """

    says: str
    owner: Any
    name: str
    wrong: Callable[[Any], Any]


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Have a fault in the gateway until the end of the block."""
    if name is None:
        yield
        return
    fault = FAULTS[name]
    with patch.object(fault.owner, fault.name, fault.wrong(getattr(fault.owner, fault.name))):
        yield


def _nothing(_: Any) -> Any:
    """In place of something that is done: nothing is."""
    return lambda *_, **__: None


def _always(value: Any) -> Callable[[Any], Any]:
    """In place of a decision: always the same one."""
    return lambda _: lambda *_, **__: value


# What the scheduler does


def _time_stands_still(right: Any) -> Any:
    def leave(level: Any, flow: Any, documents: int, *, is_granted: bool) -> None:
        time = level._time
        right(level, flow, documents, is_granted=is_granted)
        level._time = time

    return leave


def _forgets_a_late_slot(_: Any) -> Any:
    def forget(scheduler: Any, waiter: Any) -> None:
        queue = scheduler._queues[waiter.chunk.fingerprint].queue
        queue.remove(waiter, key=waiter.turn.key, request=waiter.turn)

    return forget


def _serves_nobody_else(_: Any) -> Any:
    def give_back(scheduler: Any, slot: Any) -> None:
        slot.worker.give_back(documents=len(slot.chunk.pairs), tokens=slot.chunk.tokens)
        scheduler._queues[slot.chunk.fingerprint].end(slot.chunk)

    return give_back


def _goes_where_it_failed(right: Any) -> Any:
    return lambda chunk, _, **more: right(chunk, frozenset(), **more)


def _last_come_first_served(_: Any) -> Any:
    def first(level: Any, find: Callable[[Any], Any]) -> Any:
        for flow in reversed([flow for flow in level.flows.values() if flow.documents]):
            if found := find(flow):
                return flow, found
        return None

    return first


# What computations do


def _lands_on_its_head(right: Any) -> Any:
    def scores(flight: Any) -> dict[bytes, float]:
        found = right(flight)
        return dict(zip(found, reversed(found.values()), strict=True))

    return scores


def _flies_on(_: Any) -> Any:
    async def leave(_: Any, waits: Sequence[Any]) -> None:
        for wait in waits:
            wait.computation.waiting -= 1

    return leave


def _crashes_with_its_starter(right: Any) -> Any:
    def scores(flight: Any) -> dict[bytes, float]:
        if not flight.task.cancelled() and (failure := flight.task.exception()):
            raise failure
        return dict(right(flight))

    return scores


def _knows_no_query(right: Any) -> Any:
    return lambda started, query: right(started, "" if query else query)


# What the cache does


def _knows_no_weights(_: Any) -> Any:
    return lambda _, fingerprint: fingerprint._replace(probe_scores="")


def _keeps_who_left(_: Any) -> Any:
    def replace(memory: Any, digests: Sequence[bytes], scores: Sequence[float], expiry: int) -> None:
        tables, count = memory._tables, len(memory._tables)
        for digest, score in zip(digests, scores, strict=True):
            place = memory._leaving()
            tables[hash(digest) % count][digest] = place
            memory._digests[place], memory._scores[place], memory._expiries[place] = digest, score, expiry
            memory._probation.append(place)

    return replace


def _unfolds_by_place(_: Any) -> Any:
    def expand(answer: Answer, positions: Sequence[int]) -> Answer:
        size = len(answer.scores)
        return Answer([answer.scores[place % size] for place in range(len(positions))], answer.tokens, answer.refused)

    return expand


# What the prober, a breaker and the workers do


def _gives_up_asking(right: Any) -> Any:
    async def until_due(probe: Any, worker: Any, watch: Any) -> None:
        if worker.is_well:
            await right(probe, worker, watch)
        else:
            await asyncio.Event().wait()

    return until_due


def _takes_old_news(_: Any) -> Any:
    def shown(worker: Any, serves: Any, **_: float) -> None:
        is_first = not worker.serves
        worker.serves, worker._problem = serves, None
        worker.breaker.close()
        if is_first:
            worker._tell()

    return shown


def _never_closes_again(right: Any) -> Any:
    def close(breaker: Any) -> None:
        if breaker.generation <= 1:
            right(breaker)

    return close


def _mixes_weights(_: Any) -> Any:
    return lambda registry, mark: [one for one in registry.workers if one.is_usable and mark.model in one.serves]


# What becomes of a request


def _never_ends(right: Any) -> Any:
    return lambda admission, key, documents: right(admission, key, documents - 1)


def _counts_everybody(right: Any) -> Any:
    def check_limits(admission: Any, key: str, documents: int) -> None:
        own = admission._pending[key]
        admission._pending[key] = admission._pending.total()
        try:
            right(admission, key, documents)
        finally:
            admission._pending[key] = own
            if not own:
                del admission._pending[key]

    return check_limits


def _sheds_the_first(right: Any) -> Any:
    return lambda *, waiting, per_s, **more: right(waiting=max(1, waiting), per_s=per_s and per_s / 20, **more)


def _halves_change_places(right: Any) -> Any:
    def merge(parts: Sequence[Any], size: int) -> Answer:
        refused = {place: error for _, answer in parts for place, error in answer.refused.items()}
        merged: Answer = right(parts, size)
        return merged._replace(refused=refused)

    return merge


def _stays_when_the_client_leaves(_: Any) -> Any:
    async def cancelled_on_disconnect(_: Any, work: Any) -> Any:
        return await work

    return cancelled_on_disconnect


FAULTS: dict[str, Planted] = {
    "time-stands-still": Planted(
        "newcomers always go before who has had a chunk: virtual time doesn't pass",
        app.policy.fair_queue._Level,
        "leave",
        _time_stands_still,
    ),
    "last-come-first-served": Planted(
        "the newest request's chunks go first", app.policy.fair_queue._Level, "first", _last_come_first_served
    ),
    "forgets-a-late-slot": Planted(
        "a slot that is granted in the moment its request is cancelled is never given back",
        app.queueing.scheduler.Scheduler,
        "_forget",
        _forgets_a_late_slot,
    ),
    "serves-nobody-else": Planted(
        "a slot that comes free wakes nobody who waits",
        app.queueing.scheduler.Scheduler,
        "_give_back",
        _serves_nobody_else,
    ),
    "never-wakes-after-rest": Planted(
        "nobody looks whether a worker's rest is over",
        app.queueing.scheduler.Scheduler,
        "_wake_after_back_off",
        _nothing,
    ),
    "waits-past-the-deadline": Planted(
        "who waits for a slot isn't told when its time is over", app.queueing.scheduler, "_give_up", _nothing
    ),
    "goes-where-it-failed": Planted(
        "a retry may go to the worker that just failed", app.queueing.scheduler, "candidates_for", _goes_where_it_failed
    ),
    "lands-on-its-head": Planted(
        "who joined a flight gets its scores in reverse", app.scoring.gateway, "scores_of", _lands_on_its_head
    ),
    "flies-on": Planted(
        "a flight that nobody waits for goes on", app.scoring.singleflight.Singleflight, "leave", _flies_on
    ),
    "crashes-with-its-starter": Planted(
        "a flight's failure fails all who joined it", app.scoring.gateway, "scores_of", _crashes_with_its_starter
    ),
    "knows-no-query": Planted(
        "a pair is known by its document alone", app.policy.pair_digest, "_with", _knows_no_query
    ),
    "knows-no-weights": Planted(
        "cached scores of old weights are given out for new ones",
        app.cache.score_cache.ScoreCache,
        "_agreed",
        _knows_no_weights,
    ),
    "keeps-who-left": Planted(
        "a pair that had to leave the cache is still found, with another's score",
        app.cache.memory_tier.MemoryTier,
        "_replace",
        _keeps_who_left,
    ),
    "unfolds-by-place": Planted(
        "documents that were sent twice shift the scores behind them", app.scoring.gateway, "expand", _unfolds_by_place
    ),
    "gives-up-asking": Planted(
        "a worker that failed a probe isn't asked again", app.workers.prober.Prober, "_until_due", _gives_up_asking
    ),
    "takes-old-news": Planted(
        "that a worker is well again is told to nobody", app.workers.worker.Worker, "shown", _takes_old_news
    ),
    "weighs-nothing": Planted(
        "any weights count as the same", app.policy.model_change, "same_weights", _always(value=True)
    ),
    "never-closes-again": Planted(
        "a breaker that opened once stays half open", app.policy.breaker.Breaker, "close", _never_closes_again
    ),
    "pauses-for-ever": Planted(
        "a flapping worker's pauses grow without end", app.policy.breaker, "_LONGEST_PAUSE_S", lambda _: 1e9
    ),
    "mixes-weights": Planted(
        "a request's chunks go to workers of any weights", app.workers.registry.Registry, "usable", _mixes_weights
    ),
    "never-ends": Planted(
        "one document of each chunk stays pending for ever", app.queueing.admission.Admission, "end", _never_ends
    ),
    "counts-everybody": Planted(
        "a key's limit counts the documents of all keys",
        app.queueing.admission.Admission,
        "check_limits",
        _counts_everybody,
    ),
    "sheds-the-first": Planted(
        "a request that is alone is refused as if a queue were before it",
        app.queueing.admission,
        "shed",
        _sheds_the_first,
    ),
    "keeps-the-bytes": Planted("the bytes of a body stay charged", app.api.body.Reservation, "__exit__", _nothing),
    "halves-change-places": Planted(
        "refused documents of a second half are named as of the first",
        app.scoring.attempts,
        "merge",
        _halves_change_places,
    ),
    "stays-when-the-client-leaves": Planted(
        "a client that leaves leaves its work behind",
        app.api.rerank,
        "cancelled_on_disconnect",
        _stays_when_the_client_leaves,
    ),
}
