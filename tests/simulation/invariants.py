"""What holds in every run, whatever happens: each promise is a function that yields a sentence where it is broken."""

import math
from collections.abc import Callable, Iterator

from tests.simulation.errors import errors_are_honest, no_error_while_a_worker_is_well
from tests.simulation.exactness import answers_are_exact
from tests.simulation.fairness import keys_share_evenly, nobody_is_passed_over, requests_share_evenly
from tests.simulation.forecasts import forecasts_come_true
from tests.simulation.idleness import nobody_waits_for_idle_workers
from tests.simulation.keys import no_key_feels_another
from tests.simulation.outcome import Outcome
from tests.simulation.readings import is_shared, message

Invariant = Callable[[Outcome], Iterator[str]]

# Beyond what was promised, and what rounding takes.
_LATE_S = 0.0511
_FEWEST_MEASUREMENTS = 2
# Statuses that come up later have series of their own, and a mean may keep some values more than before.
_MAY_GROW_BY = {"series of metrics": 10, "objects": 60}


def everything_is_answered_in_time(outcome: Outcome) -> Iterator[str]:
    """The gateway is done with a request by its deadline, or when its client left; 50 ms are allowed."""
    for request in outcome.record.requests:
        # Before its body is there, nobody knows what time limit it has.
        due = min(max(request.deadline, request.began + request.ask.upload_s), request.left)
        late_s = request.ended - due - outcome.record.stood_still(request.began, request.ended)
        if late_s > _LATE_S:
            what = "its client had left" if request.left < request.deadline else "its deadline"
            yield f"{request.id} was over {late_s:.3f} s after {what}"
        elif not request.is_answered and math.isinf(request.left) and request.crash is None:
            yield f"{request.id} got no answer"


def work_ends_with_who_wants_it(outcome: Outcome) -> Iterator[str]:
    """A worker works on nothing that nobody waits for: neither after an answer nor after a client left."""
    requests = {request.id: request for request in outcome.record.requests}
    for call in outcome.record.calls:
        owner = requests.get(call.request_id)
        if owner is None:
            continue
        until = min(owner.ended, owner.left)
        late_s = call.ended - until - outcome.record.stood_still(until, call.ended)
        if late_s > _LATE_S and not is_shared(outcome, owner, until):
            yield f"{call.worker} still worked on {owner.id} {late_s:.3f} s after nobody wanted it"


def nothing_is_left(outcome: Outcome) -> Iterator[str]:
    """When nobody asks any more, there is no slot taken, nothing queued, no byte held, no task, no warning."""
    yield from outcome.left


def everybody_is_well_again(outcome: Outcome) -> Iterator[str]:
    """A while after the last fault every worker is usable, and each model scores."""
    yield from outcome.unwell
    for request in outcome.last:
        if request.status != 200:
            yield f"with everybody well, {request.id} got {request.status} ({message(request)})"


def nothing_dies_unseen(outcome: Outcome) -> Iterator[str]:
    """No task ends by a bug, no request meets one, and the event loop never hangs."""
    if outcome.stuck:
        yield outcome.stuck
    for bug in outcome.record.bugs:
        yield f"{bug.who} {bug.what}"
    for request in outcome.record.requests:
        if request.crash is not None:
            yield f"{request.id} met {request.crash!r}"


def memory_stays_flat(outcome: Outcome) -> Iterator[str]:
    """Of nothing a gateway keeps more after several rounds of the same load than after the first."""
    measured = outcome.record.sizes
    if len(measured) < _FEWEST_MEASUREMENTS or outcome.plan.replicas > 1:
        return
    first, last = measured[0], measured[-1]
    for what, size in last.items():
        if size > first[what] + _MAY_GROW_BY.get(what, 0):
            yield f"after {len(measured)} rounds of the same load there are {size} {what}, after one {first[what]}"


INVARIANTS: dict[str, Invariant] = {
    check.__name__: check
    for check in (
        nothing_dies_unseen,
        answers_are_exact,
        errors_are_honest,
        no_error_while_a_worker_is_well,
        everything_is_answered_in_time,
        work_ends_with_who_wants_it,
        nothing_is_left,
        everybody_is_well_again,
        requests_share_evenly,
        keys_share_evenly,
        nobody_is_passed_over,
        no_key_feels_another,
        nobody_waits_for_idle_workers,
        forecasts_come_true,
        memory_stays_flat,
    )
}


def broken(outcome: Outcome) -> tuple[str, str] | None:
    """The first promise that was broken: its name, and what happened; None when all were kept."""
    for name, check in INVARIANTS.items():
        for sentence in check(outcome):
            return name, sentence
    return None
