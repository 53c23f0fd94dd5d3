"""Whether a failed attempt is worth another, and when."""

from random import Random

from app.errors import Refused, Unreachable, WorkerError

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


def is_free(error: WorkerError) -> bool:
    """Whether the attempt cost no worker any work, so that it doesn't count as a try."""
    return isinstance(error, Unreachable)


def allows(error: WorkerError, *, tries: int, max_attempts: int) -> bool:
    """Whether another attempt can succeed elsewhere or later.

    Args:
        error: How the last attempt ended.
        tries: Attempts so far that weren't free.
        max_attempts: Tries per chunk.
    """
    return not isinstance(error, Refused) and tries < max_attempts


def pause_s(*, tries: int, another_worker: bool, rng: Random) -> float:
    """Seconds before the next attempt: none for a worker not yet tried, else full jitter.

    Source: AWS Architecture Blog, "Exponential Backoff And Jitter" (2015): full jitter needs the fewest calls.
    """
    if another_worker:
        return 0.0
    return rng.uniform(0, min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0**tries))
