"""Faults of queues and admission."""

from collections.abc import Callable
from typing import Any

import app.policy.fair_queue
import app.queueing.admission
import app.queueing.scheduler
from tests.simulation.faults.planted import Planted, nothing


def _virtual_time_stops(right: Any) -> Any:
    def leave(level: Any, flow: Any, documents: int, *, is_granted: bool) -> None:
        time = level._time
        right(level, flow, documents, is_granted=is_granted)
        level._time = time

    return leave


def _last_come_first_served(_: Any) -> Any:
    def first(level: Any, find: Callable[[Any], Any]) -> Any:
        for flow in reversed([flow for flow in level.flows.values() if flow.documents]):
            if found := find(flow):
                return flow, found
        return None

    return first


def _share_grows_with_requests(right: Any) -> Any:
    def leave(level: Any, flow: Any, documents: int, *, is_granted: bool) -> None:
        requests = len(flow.requests()) + 1 if isinstance(flow, app.policy.fair_queue._Key) else 1
        before = flow.time
        right(level, flow, documents, is_granted=is_granted)
        flow.time = before + (flow.time - before) / requests

    return leave


def _late_slot_is_lost(_: Any) -> Any:
    def forget(scheduler: Any, waiter: Any) -> None:
        queue = scheduler._queues[waiter.chunk.fingerprint].queue
        queue.remove(waiter, key=waiter.turn.key, request=waiter.turn)

    return forget


def _freed_slot_wakes_nobody(_: Any) -> Any:
    def give_back(scheduler: Any, slot: Any) -> None:
        slot.worker.give_back(documents=len(slot.chunk.pairs), tokens=slot.chunk.tokens)
        scheduler._queues[slot.chunk.fingerprint].end(slot.chunk)

    return give_back


def _retries_on_the_same_worker(right: Any) -> Any:
    return lambda chunk, _, **more: right(chunk, frozenset(), **more)


def _documents_stay_pending(right: Any) -> Any:
    return lambda admission, key, documents: right(admission, key, documents - 1)


def _key_limit_counts_all_keys(right: Any) -> Any:
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


def _sheds_a_lone_request(right: Any) -> Any:
    return lambda *, waiting, per_s, **more: right(waiting=max(1, waiting), per_s=per_s and per_s / 20, **more)


FAULTS: dict[str, Planted] = {
    "virtual-time-stops": Planted(
        "newcomers always go before who has had a chunk: virtual time doesn't pass",
        app.policy.fair_queue._Level,
        "leave",
        _virtual_time_stops,
    ),
    "last-come-first-served": Planted(
        "the newest request's chunks go first", app.policy.fair_queue._Level, "first", _last_come_first_served
    ),
    "share-grows-with-requests": Planted(
        "a key's share grows with the number of its requests",
        app.policy.fair_queue._Level,
        "leave",
        _share_grows_with_requests,
    ),
    "late-slot-is-lost": Planted(
        "a slot that is granted in the moment its request is cancelled is never given back",
        app.queueing.scheduler.Scheduler,
        "_forget",
        _late_slot_is_lost,
    ),
    "freed-slot-wakes-nobody": Planted(
        "a slot that comes free wakes nobody who waits",
        app.queueing.scheduler.Scheduler,
        "_give_back",
        _freed_slot_wakes_nobody,
    ),
    "back-off-ends-unseen": Planted(
        "nobody looks whether a worker's back-off is over",
        app.queueing.scheduler.Scheduler,
        "_wake_after_back_off",
        nothing,
    ),
    "waits-past-the-deadline": Planted(
        "who waits for a slot isn't told when its time is over", app.queueing.scheduler, "_give_up", nothing
    ),
    "retries-on-the-same-worker": Planted(
        "a retry may go to the worker that just failed",
        app.queueing.scheduler,
        "candidates_for",
        _retries_on_the_same_worker,
    ),
    "documents-stay-pending": Planted(
        "one document of each chunk stays pending for ever",
        app.queueing.admission.Admission,
        "end",
        _documents_stay_pending,
    ),
    "key-limit-counts-all-keys": Planted(
        "a key's limit counts the documents of all keys",
        app.queueing.admission.Admission,
        "check_limits",
        _key_limit_counts_all_keys,
    ),
    "sheds-a-lone-request": Planted(
        "a request that is alone is refused as if a queue were before it",
        app.queueing.admission,
        "shed",
        _sheds_a_lone_request,
    ),
}
