"""Whether admission's forecast comes true, where the load stays as it was when the forecast was made.

The forecast is of the moment in which a request's last documents are sent to a worker: the time they take there comes
on top. Chunks are sent whole, so of a wait that is shorter than a call it says little.
"""

from collections import defaultdict
from collections.abc import Iterator
from statistics import median

from tests.simulation.clock import START_S
from tests.simulation.plan import Loop, Measure
from tests.simulation.record import Request
from tests.simulation.world import SETTLING_S, Outcome

_LEAST, _MOST = 0.75, 1.25
# The median of fewer scatters by more than what it is held to.
_FEWEST = 100
# Until the gateway knows how fast its workers are, and what keeps coming.
_LEARNING_S = 5.0


def forecasts_come_true(outcome: Outcome) -> Iterator[str]:
    """In closed loops without faults a request's last documents are sent when admission said, within a quarter.

    This holds for the median of a run, of the requests that wait for longer than a call takes.
    """
    if not _is_steady(outcome):
        return
    calls = [call for call in outcome.record.calls if not call.is_probe]
    call_s = median(call.ended - call.began for call in calls) if calls else 0.0
    sent: defaultdict[str, float] = defaultdict(float)
    for call in calls:
        sent[call.request_id] = max(sent[call.request_id], call.began)
    ratios = [
        (sent[request.id] - request.began) / request.forecast_s
        for request in outcome.record.requests
        if request.forecast_s is not None
        and request.forecast_s > call_s
        and request.status == 200
        and _is_amid_load(outcome, request)
    ]
    if len(ratios) >= _FEWEST and not _LEAST <= median(ratios) <= _MOST:
        yield (
            f"{len(ratios)} requests waited {median(ratios):.2f} of what admission had forecast when they came; a call "
            f"takes {call_s:.3f} s"
        )


def _is_steady(outcome: Outcome) -> bool:
    """Whether nothing but closed loops of new documents happened, on well workers that are alike."""
    plan, record = outcome.plan, outcome.record
    are_loops = all(isinstance(event, Measure) or (isinstance(event, Loop) and event.is_fresh) for event in plan.events)
    speeds = {(spec.fixed_s, spec.per_token_s, spec.lanes, spec.models) for spec in plan.workers}
    is_well = not record.problems and not record.standstills and plan.replicas == 1
    return are_loops and is_well and len(speeds) == 1 and all(request.status == 200 for request in record.requests)


def _is_amid_load(outcome: Outcome, request: Request) -> bool:
    """Whether the loops had been going on for a while when a request came, and still were when it ended."""
    began, ended = (moment - START_S - SETTLING_S for moment in (request.began, request.ended))
    loops = [event for event in outcome.plan.events if isinstance(event, Loop)]
    beside = [loop for loop in loops if loop.at <= ended and loop.at + loop.lasts_s >= began]
    return all(loop.at + _LEARNING_S <= began and ended <= loop.at + loop.lasts_s for loop in beside)
