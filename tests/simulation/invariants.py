"""What holds in every run, whatever happens: each promise is a function that yields a sentence where it is broken."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from tests.simulation import texts
from tests.simulation.clock import START_S
from tests.simulation.fairness import keys_share_evenly, nobody_is_passed_over, requests_share_evenly
from tests.simulation.forecasts import forecasts_come_true
from tests.simulation.plan import WorkerSpec
from tests.simulation.record import Request
from tests.simulation.world import SETTLING_S, Outcome, detection_s, recovery_s

Invariant = Callable[[Outcome], Iterator[str]]

# Beyond what was promised, and what rounding takes.
_LATE_S = 0.0511
_HONEST = frozenset({200, 400, 404, 408, 429, 502, 503, 504})
_WITH_RETRY_AFTER = frozenset({429, 503})
_ABOUT_CONTENT = frozenset({"refuse_content", "lie", "break"})
_ABSENCES = frozenset({"waiting", "gone", "not there yet", "drained"})
_MOST_FAULTY = 2
_CALLS_IN_TIME = 4
_FEWEST_MEASUREMENTS = 2
# Statuses that come up later have series of their own, and a mean may keep some values more than before.
_MAY_GROW_BY = {"series of metrics": 10, "objects": 60}
_NOWHERE = "no weights at all"
# What comes before a request is let in or not: asking the shared cache, having tokens counted.
_AT_ONCE_S = 0.02


def answers_are_exact(outcome: Outcome) -> Iterator[str]:
    """Each 200 has for every document just what the model gives, all by weights that some worker had meanwhile."""
    for request in outcome.record.requests:
        if request.status == 200 and "x-rerank-degraded" not in request.headers:
            yield from _differences(outcome, request)


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
        elif status == 400 and not request.ask.unreadable and not _was_refused(outcome, request):
            yield f"{request.id} was told that it is wrong, though no worker refused it: {_message(request)}"
        elif status == 429 and (most := _limit_named(outcome, request)) and _pending(outcome, request) <= most:
            yield f"{request.id} was refused for a limit that wasn't reached: {_message(request)}"


def no_error_while_a_worker_is_well(outcome: Outcome) -> Iterator[str]:
    """No request fails while a worker of its model is well and has time for it."""
    for request in outcome.record.requests:
        if request.status < 400 or (request.status == 400 and request.ask.unreadable):
            continue
        good = _good_workers(outcome, request)
        if good and not _may_fail(outcome, request, good):
            names = ", ".join(spec.name for spec in good)
            yield f"{request.id} got {request.status} ({_message(request)}) while {names} was well"


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
        if late_s > _LATE_S and not _is_shared(outcome, owner, until):
            yield f"{call.worker} still worked on {owner.id} {late_s:.3f} s after nobody wanted it"


def nothing_is_left(outcome: Outcome) -> Iterator[str]:
    """When nobody asks any more, there is no slot taken, nothing queued, no byte held, no task, no warning."""
    yield from outcome.left


def everybody_is_well_again(outcome: Outcome) -> Iterator[str]:
    """A while after the last fault every worker is usable, and each model scores."""
    yield from outcome.unwell
    for request in outcome.last:
        if request.status != 200:
            yield f"with everybody well, {request.id} got {request.status} ({_message(request)})"


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


# Exactness


def _differences(outcome: Outcome, request: Request) -> Iterator[str]:
    scores = _scores(request)
    if scores is None or len(scores) != len(request.documents) or {*map(type, scores)} != {float}:
        yield f"the answer to {request.id} has no score for each of its {len(request.documents)} documents"
        return
    unscored = _unscored(outcome, request, scores)
    readable = [place for place in range(len(scores)) if place not in unscored]
    if any(texts.UNREADABLE in request.documents[place] for place in readable):
        yield f"{request.id} has scores for documents that no worker scores"
        return
    if unscored:
        if outcome.settings.document_errors == "error" or not readable:
            yield f"{request.id} was answered though documents of it have no score"
            return
        if any(scores[place] != min(scores) for place in unscored):
            yield f"a document of {request.id} that no worker scores has another score than the lowest"
        if not _was_refused(outcome, request) and any(
            texts.UNREADABLE not in request.documents[one] for one in unscored
        ):
            yield f"{request.id} has documents without a score, though no worker refused any"
    wrong: dict[int, list[int]] = {}
    for weights in _weights_meanwhile(outcome, request):
        wrong[weights] = [
            place
            for place in readable
            if scores[place] != texts.score(weights, request.query, request.documents[place])
        ]
        if all(_is_tainted(outcome, request, scores, place) for place in wrong[weights]):
            return
    best = min(wrong, key=lambda weights: len(wrong[weights]))
    yield (
        f"{len(wrong[best])} of the {len(scores)} scores of {request.id} aren't those of weights {best}, which fit "
        f"best; the first is of {_origin(outcome, request, scores, wrong[best][0])}"
    )


def _unscored(outcome: Outcome, request: Request, scores: list[float]) -> set[int]:
    """The places of documents of which the answer says that no worker would score them; /v1/score can't say so."""
    if request.ask.route == "/v1/score":
        lowest = min(scores)
        was_refused = outcome.settings.document_errors == "lowest" and _was_refused(outcome, request)
        return {
            place
            for place, text in enumerate(request.documents)
            if texts.UNREADABLE in text
            or (was_refused and scores[place] == lowest and _origin(outcome, request, scores, place) == _NOWHERE)
        }
    warnings: list[str] = request.body.get("meta", {}).get("warnings", [])
    return {int(warning.partition("[")[2].partition("]")[0]) for warning in warnings}


def _is_tainted(outcome: Outcome, request: Request, scores: list[float], place: int) -> bool:
    """Whether a score may be another weights': nobody could know of them when they were used."""
    document = request.documents[place]
    return any(
        (weights, request.query, document) in outcome.record.tainted
        and scores[place] == texts.score(weights, request.query, document)
        for weights in {spell.weights for spell in outcome.record.spells}
    )


def _origin(outcome: Outcome, request: Request, scores: list[float], place: int) -> str:
    for weights in sorted({spell.weights for spell in outcome.record.spells}):
        if scores[place] == texts.score(weights, request.query, request.documents[place]):
            return f"weights {weights}"
    return _NOWHERE


def _weights_meanwhile(outcome: Outcome, request: Request) -> list[int]:
    """The weights that some worker of the model had during the request, or so lately that nobody could know better."""
    since = request.began - detection_s(outcome.settings)
    spells = [spell for spell in outcome.record.spells if request.ask.model in spell.models]
    found = []
    for place, spell in enumerate(spells):
        ended = next((later.since for later in spells[place + 1 :] if later.worker == spell.worker), math.inf)
        if spell.since <= request.ended and ended >= since:
            found.append(spell.weights)
    return sorted(set(found))


def _scores(request: Request) -> list[float] | None:
    body: Any = request.body
    try:
        if request.ask.route == "/v1/score":
            return [row["score"] for row in body["data"]]
        by_index = {row["index"]: row["relevance_score"] for row in body["results"]}
        return [by_index[place] for place in range(len(body["results"]))]
    except (KeyError, TypeError):
        return None


# Errors


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
    if len({one.worker for one in problems if one.kind in _ABOUT_CONTENT}) > 1:
        return True
    if len({(spell.weights, spell.version) for spell in record.spells if spell.worker in mates}) > 1:
        return True
    if record.stood_still(request.began - SETTLING_S, request.ended) or any(
        request.began <= at <= request.ended for at in record.denied
    ):
        return True
    if request.status == 429 and request.ended <= request.began + _AT_ONCE_S + request.ask.upload_s:
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
    message = _message(request)
    if message.startswith("The key"):
        return outcome.settings.max_pending_documents_per_key
    return outcome.settings.max_pending_documents if "pass the limit" in message else None


def _pending(outcome: Outcome, request: Request) -> int:
    """All documents that could be pending when a request was refused, its own included."""
    at, is_of_key = request.ended, _message(request).startswith("The key")
    working = {call.request_id for call in outcome.record.calls if call.began <= at <= call.ended}
    counts_all = _has_been_degraded(outcome, at)
    return sum(
        len(other.documents) if counts_all else other.distinct
        for other in outcome.record.requests
        if (not is_of_key or other.ask.key == request.ask.key)
        and other.began <= at
        # Of one that is over, others may still wait for chunks in the queue.
        and (at <= other.ended or other.id in working or _is_shared(outcome, other, at))
    )


def _has_been_degraded(outcome: Outcome, at: float) -> bool:
    """Whether the fallback has scored until a time: it scores lists whole, with what stands there several times."""
    return any(note.what.startswith("logs degraded ") and note.at <= at - START_S for note in outcome.record.notes)


def _was_refused(outcome: Outcome, request: Request) -> bool:
    """Whether some worker refused content just then."""
    workers = {spec.name for spec in outcome.plan.workers}
    kinds = {one.kind for one in outcome.record.troubles_of(workers, request.began, request.ended)}
    return not kinds.isdisjoint(_ABOUT_CONTENT)


def _is_shared(outcome: Outcome, owner: Request, since: float) -> bool:
    """Whether another request may wait for some of the same pairs: a chunk goes on whole for whoever needs a part."""
    if owner.ask.cache == "no-store" or not outcome.settings.cache:
        return False
    wanted = set(owner.documents)
    return any(
        other is not owner
        and other.query == owner.query
        and other.began <= since
        and min(other.ended, other.left) > since
        and other.ask.cache != "no-store"
        and (outcome.settings.cache_across_keys or other.ask.key == owner.ask.key)
        and not wanted.isdisjoint(other.documents)
        for other in outcome.record.requests
    )


def _message(request: Request) -> str:
    body = request.body if isinstance(request.body, dict) else {}
    return str(body.get("error", {}).get("message", body))
