"""From a plan that breaks a promise to a short one that still does."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from tests.simulation.plan import Ask, Discover, Event, Fault, Loop, Operate, Plan, Replace

# Runs that may be spent on one plan.
_MOST_RUNS = 600


def shrunk(plan: Plan, fails: Callable[[Plan], bool], *, most_runs: int = _MOST_RUNS) -> Plan:
    """A plan as short as can be found that still `fails`.

    Args:
        plan: One that fails.
        fails: Runs a plan; true when it breaks the same promise.
        most_runs: After so many runs the shortest so far is taken.
    """
    left = most_runs

    def still(smaller: Plan) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and fails(smaller)

    while True:
        before = plan
        plan = _fewer_events(plan, still)
        plan = _first_that(plan, still, _simpler)
        if plan == before or left <= 0:
            return plan


def _fewer_events(plan: Plan, still: Callable[[Plan], bool]) -> Plan:
    """Delta debugging (Zeller and Hildebrandt 2002): leave out parts of the events, ever smaller ones."""
    size = max(1, len(plan.events) // 2)
    while True:
        place = 0
        while place < len(plan.events):
            smaller = replace(plan, events=plan.events[:place] + plan.events[place + size :])
            if still(smaller):
                plan = smaller
            else:
                place += size
        if size == 1:
            return plan
        size //= 2


def _first_that(plan: Plan, still: Callable[[Plan], bool], ways: Callable[[Plan], Iterator[Plan]]) -> Plan:
    """Take one simplification after the other, beginning anew after each that works."""
    found = True
    while found:
        found = False
        for smaller in ways(plan):
            if smaller != plan and still(smaller):
                plan, found = smaller, True
                break
    return plan


def _simpler(plan: Plan) -> Iterator[Plan]:
    yield from _fewer_workers(plan)
    yield replace(plan, replicas=1)
    yield replace(plan, is_over_network=False)
    yield replace(plan, has_coarse_clock=False)
    yield replace(plan, has_presence=True)
    for name in [name for name in plan.settings if name != "api_keys"]:
        yield replace(plan, settings={key: value for key, value in plan.settings.items() if key != name})
    for number, event in enumerate(plan.events):
        for simpler in _simpler_event(event):
            yield replace(plan, events=(*plan.events[:number], simpler, *plan.events[number + 1 :]))
    for number, worker in enumerate(plan.workers):
        plain = replace(worker, fixed_s=0.0, lanes=1, identify_s=0.005, is_there=True)
        yield replace(plan, workers=(*plan.workers[:number], plain, *plan.workers[number + 1 :]))


def _fewer_workers(plan: Plan) -> Iterator[Plan]:
    for gone in plan.workers[1:]:
        rest = tuple(worker for worker in plan.workers if worker is not gone)
        yield replace(plan, workers=rest, events=tuple(one for one in plan.events if not _concerns(one, gone.name)))


def _concerns(event: Event, worker: str) -> bool:
    if isinstance(event, Fault | Replace | Discover):
        return event.worker == worker
    return isinstance(event, Operate) and event.subject == worker


def _simpler_event(event: Event) -> Iterator[Event]:
    if isinstance(event, Ask):
        yield from _simpler_ask(event)
    elif isinstance(event, Loop):
        if event.clients > 1:
            yield replace(event, clients=event.clients // 2)
            yield replace(event, clients=event.clients - 1)
        yield replace(event, lasts_s=round(event.lasts_s / 2, 4))
        yield replace(event, think_s=0.0)
        for ask in _simpler_ask(event.ask):
            yield replace(event, ask=ask)
    elif isinstance(event, Fault):
        yield replace(event, lasts_s=round(event.lasts_s / 2, 4))
        yield replace(event, share=1.0)


def _simpler_ask(ask: Ask) -> Iterator[Ask]:
    if ask.documents > 1:
        yield replace(ask, documents=ask.documents // 2, unreadable=())
        yield replace(ask, documents=ask.documents - 1, unreadable=())
    for one in fields(Ask):
        if one.name not in {"at", "documents", "first", "model", "key"} and getattr(ask, one.name) != one.default:
            changed: dict[str, Any] = {one.name: one.default}
            yield replace(ask, **changed)


__all__ = ["shrunk"]
