"""The throughput of the workers when they have all they can take."""

from math import exp

_MEMORY_S = 10.0
# What a burst does in its first moments says how fast it comes in.
_SHORTEST_S = 1.0


class Throughput:
    """Documents per second and worker, measured only while more waits than the workers take.

    At any other time the rate says how much was asked for, not how much could be done.
    """

    def __init__(self) -> None:
        self._documents = 0.0
        self._worker_s = 0.0
        self._measured_s = 0.0
        self._since: float | None = None

    def record(self, *, documents: int, workers: int, is_saturated: bool, now: float) -> None:
        """Count a call of `documents` that ended; `is_saturated` says whether others wait."""
        if self._since is not None:
            elapsed = now - self._since
            fading = exp(-elapsed / _MEMORY_S)
            self._documents = self._documents * fading + documents
            self._worker_s = self._worker_s * fading + elapsed * workers
            self._measured_s = self._measured_s * fading + elapsed
        self._since = now if is_saturated else None

    def interrupt(self) -> None:
        """Leave the time until the next result out: no worker is left."""
        self._since = None

    def per_s(self, workers: int) -> float | None:
        """Documents per second that `workers` get through; None before it was measured."""
        if self._measured_s < _SHORTEST_S or self._worker_s <= 0:
            return None
        return workers * self._documents / self._worker_s
