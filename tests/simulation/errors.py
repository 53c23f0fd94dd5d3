"""Whether errors are honest, and whether there had to be one."""

from collections.abc import Iterator
from itertools import chain

from tests.simulation import texts
from tests.simulation.clock import START_S
from tests.simulation.outcome import SETTLING_S, Outcome, recovery_s
from tests.simulation.plan import WorkerSpec
from tests.simulation.readings import ABOUT_CONTENT, is_shared, message, was_refused
from tests.simulation.record import Request

_HONEST = frozenset({200, 400, 404, 408, 429, 502, 503, 504})
_WITH_RETRY_AFTER = frozenset({429, 503})
_ABSENCES = frozenset({"waiting", "gone", "not there yet", "drained"})
_MOST_FAULTY = 2
_CALLS_IN_TIME = 4
# What comes before a request is let in or not: asking the shared cache, having tokens counted.
_AT_ONCE_S = 0.02
# Tokens of long documents are counted before it is known how many pairs there are.
_COUNTING_S = 1.0


def errors_are_honest(outcome: Outcome) -> Iterator[str]:
    """Each error has a documented status, the shape that its route has, and a reason that is true."""
    for request in outcome.record.requests:
        if not request.is_answered or request.status == 200:
            continue
        status, body = request.status, request.body
        if status not in _HONEST:
            yield f"{request.id} was answered with {status}"
        elif not isinstance(body, dict) or body.get("error", {}).get("code") != status:
            yield f"the answer {status} to {request.id} has another shape: {body}"
        elif status in _WITH_RETRY_AFTER and int(request.headers.get("retry-after", 0)) < 1:
            yield f"the answer {status} to {request.id} doesn't say when to come back"
        elif status == 400 and not request.ask.unreadable and not was_refused(outcome, request):
            yield f"{request.id} was told that it is wrong, though no worker refused it: {message(request)}"
        elif status == 429 and (most := _limit_named(outcome, request)) and not _could_exceed(outcome, request, most):
            yield f"{request.id} was refused for a limit that wasn't reached: {message(request)}"


def no_error_while_a_worker_is_well(outcome: Outcome) -> Iterator[str]:
    """No request fails while a worker of its model is well and has time for it."""
    for request in outcome.record.requests:
        if request.status < 400 or (request.status == 400 and request.ask.unreadable):
            continue
        good = _good_workers(outcome, request)
        if good and not _may_fail(outcome, request, good):
            names = ", ".join(spec.name for spec in good)
            yield f"{request.id} got {request.status} ({message(request)}) while {names} was well"


def _good_workers(outcome: Outcome, request: Request) -> list[WorkerSpec]:
    """The workers of the request's model that nothing was wrong with for longer than a gateway may take to see it."""
    since = request.began - recovery_s(outcome.settings)
    return [
        spec
        for spec in outcome.plan.workers
        if request.ask.model in spec.models
        and spec.is_there
        and not outcome.record.troubles_of({spec.name}, since, request.ended)
    ]


def _may_fail(outcome: Outcome, request: Request, good: list[WorkerSpec]) -> bool:
    """Whether something else excuses an error beside a worker that is well."""
    record, settings = outcome.record, outcome.settings
    since = request.began - recovery_s(settings)
    mates = {spec.name for spec in outcome.plan.workers if request.ask.model in spec.models}
    problems = [one for one in record.troubles_of(mates, since, request.ended) if one.kind not in _ABSENCES]
    faulty = {one.worker for one in problems}
    if len(faulty) > min(_MOST_FAULTY, settings.max_attempts - 2):
        return True
    if len({one.worker for one in problems if one.kind in ABOUT_CONTENT}) > 1:
        return True
    if len({(spell.weights, spell.version) for spell in record.spells if spell.worker in mates}) > 1:
        return True
    if record.stood_still(request.began - SETTLING_S, request.ended) or any(
        request.began <= at <= request.ended for at in record.denied
    ):
        return True
    counting_s = _COUNTING_S if request.ask.is_by_passage else 0.0
    if request.status == 429 and request.ended <= request.began + _AT_ONCE_S + request.ask.upload_s + counting_s:
        return any(
            other is not request and other.began <= request.ended + _AT_ONCE_S and other.ended >= request.began
            for other in record.requests
        )
    return not _is_time_enough(outcome, request, good, len(faulty))


def _is_time_enough(outcome: Outcome, request: Request, good: list[WorkerSpec], faulty: int) -> bool:
    """Whether the good workers could do all that was asked meanwhile, with time to spare."""
    meanwhile = [one for one in outcome.record.requests if one.began < request.ended and one.ended > request.began]
    slowest = max(good, key=lambda spec: spec.per_token_s)
    work_s = sum(_work_s(one, slowest) for one in meanwhile) / len(good)
    # A worker that hangs may take half of the time there is, and the next again half of what is left.
    left_s: float = (request.deadline - request.began - request.ask.upload_s) / 2**faulty
    # A call that is longer than any before may be given up at half of the time left, on a worker that is only busy.
    call_s = max(_call_s(outcome, request, spec) for spec in good)
    return left_s > max(2 * work_s + 1.0, _CALLS_IN_TIME * call_s)


def _call_s(outcome: Outcome, request: Request, spec: WorkerSpec) -> float:
    """Seconds that a call with a full chunk of the request takes, behind another."""
    share = min(1.0, outcome.settings.max_batch / len(request.documents))
    return 2 * (spec.fixed_s + share * _work_s(request, spec))


def _work_s(request: Request, spec: WorkerSpec) -> float:
    tokens = sum(texts.tokens(request.query, document) for document in request.documents)
    return len(request.documents) * spec.fixed_s + tokens * spec.per_token_s


def _limit_named(outcome: Outcome, request: Request) -> int | None:
    """The limit of pending documents that an answer 429 gives for its reason; None for another reason."""
    reason = message(request)
    if reason.startswith("The key"):
        return outcome.settings.max_pending_documents_per_key
    return outcome.settings.max_pending_documents if "of RERANK_MAX_PENDING_DOCUMENTS" in reason else None


def _could_exceed(outcome: Outcome, request: Request, most: int) -> bool:
    """Whether more documents than `most` could be pending when a request was refused, its own included."""
    at, is_of_key = request.ended, message(request).startswith("The key")
    working = {call.request_id for call in outcome.record.calls if call.began <= at <= call.ended}
    counts_all = _has_been_degraded(outcome, at)
    beside = [
        other
        for other in outcome.record.requests
        if other.began <= at and (not is_of_key or other.ask.key == request.ask.key)
    ]
    # For chunks in the queue of one that is over, others may still wait. To find that out takes longest, so it is last.
    still = (other for other in beside if at <= other.ended or other.id in working)
    late = (
        other
        for other in beside
        if other.ended < at <= other.deadline and other.id not in working and is_shared(outcome, other, at)
    )
    for other in chain(still, late):
        most -= len(other.documents) if counts_all else other.distinct
        if most < 0:
            return True
    return False


def _has_been_degraded(outcome: Outcome, at: float) -> bool:
    """Whether the fallback has scored until a time: it scores lists whole, with what stands there several times."""
    return any(note.what.startswith("logs degraded ") and note.at <= at - START_S for note in outcome.record.notes)
