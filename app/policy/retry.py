"""Retries: which failed attempts are worth another, and after which pause."""

from random import Random

from app.errors import (
    BadAnswer,
    ClosedBeforeResponse,
    ContentRejected,
    LacksRoute,
    OutOfFiles,
    Unreachable,
    WorkerError,
)

# One worker may be wrong about a document; two that agree are believed.
_MOST_OBJECTIONS = 2
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


def is_free(error: WorkerError) -> bool:
    """True when the attempt cost no worker any work, so that it doesn't count against the budget."""
    return isinstance(error, Unreachable | LacksRoute | OutOfFiles)


def is_try(error: WorkerError) -> bool:
    """True when the attempt counts as a try: a document that kills the worker it is sent to must not be sent to all."""
    return not is_free(error) or isinstance(error, ClosedBeforeResponse | OutOfFiles)


def objects_to_content(error: WorkerError) -> bool:
    """True when the documents themselves may be the reason, so that the same chunk will hardly fare better."""
    return isinstance(error, ContentRejected | BadAnswer)


def allows(error: WorkerError, *, tries: int, objections: int, another_worker: bool, max_attempts: int) -> bool:
    """True when another attempt can succeed elsewhere or later.

    Args:
        error: How the last attempt ended.
        tries: Attempts so far that count as tries.
        objections: Attempts so far that ended with an objection to the content.
        another_worker: Whether a worker not yet tried is usable.
        max_attempts: Tries per chunk.
    """
    if tries >= max_attempts:
        return False
    if isinstance(error, LacksRoute):
        return another_worker
    if isinstance(error, ContentRejected):
        return another_worker and objections < _MOST_OBJECTIONS
    return another_worker or objections < _MOST_OBJECTIONS


def pause_s(*, tries: int, another_worker: bool, rng: Random) -> float:
    """Seconds before the next attempt: none for a worker not yet tried, else full jitter.

    Source: AWS Architecture Blog, "Exponential Backoff And Jitter" (2015): full jitter needs the fewest calls.
    """
    if another_worker:
        return 0.0
    return rng.uniform(0, min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0**tries))
