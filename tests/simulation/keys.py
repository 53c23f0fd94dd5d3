"""Whether a key that asks for less than its share notices what another does."""

from collections.abc import Iterator, Sequence

from tests.simulation import texts
from tests.simulation.clock import START_S
from tests.simulation.outcome import Outcome
from tests.simulation.plan import WorkerSpec
from tests.simulation.readings import message
from tests.simulation.record import Call, Request

# Its own share and the other key's; each key may be a chunk ahead or behind, and has one that is next.
_KEYS = 2
_CHUNKS = 2 * _KEYS


def no_key_feels_another(outcome: Outcome) -> Iterator[str]:
    """A modest key has all its answers, whatever another does, and each as soon as its share allows.

    That is when what the workers had already is done, as much of the other key as of its own, and two chunks of each.
    Where calls to a worker fail, only the answers are judged: it may have to wait anew.
    """
    key, record = outcome.plan.modest_key, outcome.record
    if key is None or record.standstills:
        return
    requests = {request.id: request for request in record.requests if request.ask.key == key}
    calls = [call for call in record.calls if not call.is_probe]
    failed = sum(call.how not in {"scored", "cancelled"} for call in calls if call.request_id in requests)
    if failed > outcome.settings.retry_reserve:
        # These it spent itself.
        return
    largest_s = max((_takes_s(outcome, call) for call in calls), default=0.0)
    for request in requests.values():
        took_s, due_s = request.ended - request.began, _due_s(outcome, request, record.calls, largest_s)
        if request.status != 200:
            yield f"{request.id} of the modest key {key} got {request.status} ({message(request)})"
        elif took_s > due_s and not record.problems:
            yield (
                f"{request.id} of the modest key {key} took {took_s:.3f} s from {request.began - START_S:.3f} s on; "
                f"with its share it would have been {due_s:.3f} s at most"
            )


def _due_s(outcome: Outcome, request: Request, calls: Sequence[Call], largest_s: float) -> float:
    """Seconds in which a request has its answer at the latest, when its key has its share."""
    workers = outcome.plan.workers
    lanes = sum(worker.lanes for worker in workers)
    # A check of the model that has begun when a request comes isn't broken off: it has one call at a time.
    held_s = sum(_takes_s(outcome, call) for call in calls if call.began <= request.began < call.ended)
    own_s = _work_s(workers[0], request.query, request.documents)
    return (held_s + _KEYS * own_s + _CHUNKS * largest_s) / lanes + own_s


def _takes_s(outcome: Outcome, call: Call) -> float:
    return _work_s(outcome.plan.workers[0], call.query, call.documents)


def _work_s(worker: WorkerSpec, query: str, documents: Sequence[str]) -> float:
    """Seconds that a worker takes for one call; those of a plan with a modest key are alike."""
    return worker.fixed_s + worker.per_token_s * sum(texts.tokens(query, document) for document in documents)
