"""Whether a request waits while no worker has anything to do."""

from collections import Counter
from collections.abc import Iterator

from tests.simulation.clock import START_S
from tests.simulation.outcome import Outcome, recovery_s
from tests.simulation.record import Trouble

# A pause between tries is no longer than that.
_LONGEST_WAIT_S = 3.0
# How long a worker is left alone: what it asked for, up to the first; growing pauses, up to the second.
_LONGEST_ASKED_S, _LONGEST_BACK_OFF_S = 30.0, 5.0


def nobody_waits_for_idle_workers(outcome: Outcome) -> Iterator[str]:
    """A request has something on a worker at least every few seconds, when a worker is well and none has anything else.

    A worker that asked to be left alone is well as soon as that time is over. Where workers have had several weights or
    versions it isn't judged: a request keeps to one, and waits for those that have it.
    """
    plan, record = outcome.plan, outcome.record
    if plan.replicas > 1 or record.standstills:
        return
    asked = Counter((one.query, text) for one in record.requests for text in one.texts)
    calls = sorted((call.began, call.ended) for call in record.calls if not call.is_probe)
    for request in record.requests:
        if len({(one.weights, one.version) for one in record.spells if request.ask.model in one.models}) > 1:
            continue
        if request.ask.upload_s or any(asked[request.query, text] > 1 for text in request.texts):
            # It may wait for its own body, or for another request's computation.
            continue
        for since, until in _gaps(calls, request.began, min(request.ended, request.left)):
            names = [
                spec.name
                for spec in plan.workers
                if request.ask.model in spec.models and spec.is_there and _is_well(outcome, spec.name, until)
            ]
            if names:
                yield (
                    f"{request.id} waited from {since - START_S:.3f} to {until - START_S:.3f} s while no worker had "
                    f"anything to do and {', '.join(names)} was well"
                )


def _gaps(calls: list[tuple[float, float]], since: float, until: float) -> Iterator[tuple[float, float]]:
    """The times between the two, longer than allowed, in which there is no call."""
    if until - since <= _LONGEST_WAIT_S:
        return
    free_from = since
    for began, ended in calls:
        if ended <= since:
            continue
        if began >= until:
            break
        if began - free_from > _LONGEST_WAIT_S:
            yield free_from, began
        free_from = max(free_from, ended)
    if until - free_from > _LONGEST_WAIT_S:
        yield free_from, until


def _is_well(outcome: Outcome, worker: str, until: float) -> bool:
    """Whether a worker could be used during the last seconds of a time."""
    from_s = until - _LONGEST_WAIT_S
    problems = outcome.record.troubles_of({worker}, from_s - recovery_s(outcome.settings) - _LONGEST_ASKED_S, until)
    return all(_is_over(outcome, problem, from_s) for problem in problems)


def _is_over(outcome: Outcome, problem: Trouble, at: float) -> bool:
    if problem.kind != "busy":
        return problem.until + recovery_s(outcome.settings) <= at
    return problem.until + max(_LONGEST_BACK_OFF_S, min(problem.amount, _LONGEST_ASKED_S)) <= at
