"""What happened in a run, as a timeline that reads like a bug report."""

import math
from collections.abc import Iterator

from tests.simulation.clock import START_S
from tests.simulation.outcome import Outcome
from tests.simulation.plan import written
from tests.simulation.record import Call, Note, Request

_LONGEST_MESSAGE = 160


def told(outcome: Outcome, promise: str, sentence: str) -> str:
    """The story of a run that broke a promise, and how to see it again."""
    plan = outcome.plan
    lines = [
        f"Seed {plan.seed} breaks `{promise}`.",
        "",
        f"settings: {', '.join(f'{name}={value!r}' for name, value in plan.settings.items())}",
        *(f"worker:   {written(worker)}" for worker in plan.workers),
        "",
        *(f"{note.at:10.4f} s  {note.who:<12} {note.what}" for note in _timeline(outcome)),
        "",
        f"Broken: {sentence}.",
    ]
    return "\n".join(lines)


def _timeline(outcome: Outcome) -> list[Note]:
    record = outcome.record
    notes = list(record.notes)
    for request in record.requests:
        notes += _of_request(request)
    for call in record.calls:
        if not call.is_probe:
            notes += _of_call(call)
    return sorted(notes, key=lambda note: note.at)


def _of_request(request: Request) -> Iterator[Note]:
    ask = request.ask
    said = [f"{len(request.documents)} documents to {ask.route}"]
    if request.distinct < len(request.documents):
        said.append(f"{request.distinct} of them distinct")
    if ask.key != "anonymous":
        said.append(f"key {ask.key}")
    if ask.model != "m":
        said.append(f"model {ask.model}")
    for name in ("priority", "unreadable", "cache", "upload_s", "has_long_query", "is_by_passage", "replica"):
        value = getattr(ask, name)
        if value != type(ask).__dataclass_fields__[name].default:
            said.append(f"{name} {value}")
    said.append(f"documents {ask.first}.. of query {ask.query}")
    said.append(f"due in {request.deadline - request.began:g} s")
    yield Note(request.began - START_S, request.id, f"sends {', '.join(said)}")
    if not math.isinf(request.left) and request.left <= request.ended:
        yield Note(request.left - START_S, request.id, "leaves")
    if request.is_answered:
        result = "its scores" if request.status == 200 else _message(request)
        yield Note(request.ended - START_S, request.id, f"is answered {request.status}: {result}")
    elif not math.isinf(request.ended):
        how = f"fails: {request.crash!r}" if request.crash else "is over without an answer"
        yield Note(request.ended - START_S, request.id, how)


def _of_call(call: Call) -> Iterator[Note]:
    size = f"{len(call.documents)} documents of {call.request_id}"
    yield Note(call.began - START_S, call.worker, f"gets {size}")
    if not math.isinf(call.ended):
        yield Note(call.ended - START_S, call.worker, f"is done with {size}: {call.how}")


def _message(request: Request) -> str:
    body = request.body if isinstance(request.body, dict) else {}
    return str(body.get("error", {}).get("message", body))[:_LONGEST_MESSAGE]
