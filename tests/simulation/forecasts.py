"""Whether admission's forecast comes true, where the load stays as it was when the forecast was made.

The forecast is of the moment in which a request has its answer: behind what the workers have, what waits, and what
keeps coming. Chunks are sent and scored whole, so of an answer that comes after a call or two it says little.
"""

from collections import defaultdict
from collections.abc import Iterator
from statistics import median

from tests.simulation.clock import START_S
from tests.simulation.outcome import SETTLING_S, Outcome
from tests.simulation.plan import Loop, Measure
from tests.simulation.record import Request

_LEAST, _MOST = 0.75, 1.25
# The median of fewer scatters by more than what it is held to.
_FEWEST = 100
# A request that waits for longer than a call takes has its answer after two.
_LEAST_CALLS = 2
# Until the gateway knows how fast its workers are, and what keeps coming.
_LEARNING_S = 5.0


def forecasts_come_true(outcome: Outcome) -> Iterator[str]:
    """In closed loops without faults a request has its answer when admission said, within a quarter.

    This holds for the median of each key in a run, of the requests that wait for longer than a call takes.
    """
    if not _is_steady(outcome):
        return
    calls = [call.ended - call.began for call in outcome.record.calls if not call.is_probe]
    call_s = median(calls) if calls else 0.0
    ratios: defaultdict[str, list[float]] = defaultdict(list)
    for request in outcome.record.requests:
        forecast_s = request.forecast_s
        if forecast_s and forecast_s > _LEAST_CALLS * call_s and _is_amid_load(outcome, request):
            ratios[request.ask.key].append((request.ended - request.began) / forecast_s)
    for key, own in ratios.items():
        if len(own) >= _FEWEST and not _LEAST <= median(own) <= _MOST:
            yield (
                f"{len(own)} requests of {key} took {median(own):.2f} of what admission had forecast when they came; "
                f"a call takes {call_s:.3f} s"
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
