"""What several promises read from the record of a run."""

from tests.simulation.outcome import Outcome
from tests.simulation.record import Request

# Faults by which a worker objects to what it was sent.
ABOUT_CONTENT = frozenset({"refuse_content", "lie", "break"})


def message(request: Request) -> str:
    """The reason that an error gives."""
    body = request.body if isinstance(request.body, dict) else {}
    return str(body.get("error", {}).get("message", body))


def was_refused(outcome: Outcome, request: Request) -> bool:
    """Whether some worker refused content just then."""
    workers = {spec.name for spec in outcome.plan.workers}
    kinds = {one.kind for one in outcome.record.troubles_of(workers, request.began, request.ended)}
    return not kinds.isdisjoint(ABOUT_CONTENT)


def is_shared(outcome: Outcome, owner: Request, since: float) -> bool:
    """Whether another request may wait for some of the same pairs: a chunk goes on whole for whoever needs a part."""
    if owner.ask.cache == "no-store" or not outcome.settings.cache:
        return False
    wanted = owner.texts
    return any(
        other is not owner
        and other.query == owner.query
        and other.began <= since
        and min(other.ended, other.left) > since
        and other.ask.cache != "no-store"
        and (outcome.settings.cache_across_keys or other.ask.key == owner.ask.key)
        and not wanted.isdisjoint(other.texts)
        for other in outcome.record.requests
    )
