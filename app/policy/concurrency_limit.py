"""The concurrency limit: how many documents a worker may hold at once.

TCP Vegas's rule (Brakmo and Peterson 1995), as Netflix's concurrency-limits applies it to servers: compare a call's
latency with the shortest that calls of its size ever took. What the worker holds beyond that ratio is standing in its
queue. A short queue keeps it busy; a long one only makes everybody wait. So the limit grows while less than a quarter
of a chunk queues, and shrinks when more than one does: a GPU that scores many chunks at once ends up with many, a CPU
with one and a half.

The size that latencies are compared by is in tokens. By documents, long texts among short ones look like a queue.
"""

from math import log2

_LEAST_QUEUED_CHUNKS = 0.25
_MOST_QUEUED_CHUNKS = 1.0
# What a request may have queued beyond that while no other is there to wait for it.
_QUEUED_CHUNKS_ALONE = 3
# Of what is held: latencies scatter by more than a worker that holds many chunks gains or loses by one.
_LEAST_QUEUED_SHARE = 0.1
_MOST_QUEUED_SHARE = 0.25
_DECREASE = 0.9
# uvloop's clock has steps of a millisecond, at both ends of a call: less than this tells of no queue. Without it all
# that a worker holds which answers within one step would count as queued.
_CLOCK_S = 0.002
# A base latency measured under load is too long, and a limit that goes by it only grows. So from time to time the
# worker gets little for a moment, and the base is measured anew: BBR's ProbeRTT (Cardwell et al. 2016).
_RESULTS_BETWEEN_MEASUREMENTS = 2000
_RESULTS_PER_MEASUREMENT = 8
# Sizes within a fifth of each other are one; 2**32 tokens are more than a call has.
_SIZES_PER_DOUBLING = 4
_SIZES = 32 * _SIZES_PER_DOUBLING


class ConcurrencyLimit:
    """The documents one worker may hold, learned from its latency.

    Args:
        least: Lower bound, and where it starts.
        most: Upper bound.
        chunk: Documents of a full chunk, the unit in which queues are judged.
    """

    def __init__(self, *, least: int, most: int, chunk: int) -> None:
        self._least = least
        self._most = most
        self._chunk = chunk
        self._limit = float(least)
        self._shortest = _Shortest()
        self._results = 0
        self._measured: _Shortest | None = None

    @property
    def documents(self) -> int:
        """Documents the worker may hold now."""
        return int(self._limit) if self._measured is None else self._least

    def allows(self, held: int, *, alone: bool = False) -> bool:
        """True when a worker that holds `held` documents may get another chunk, whatever its size.

        Were the size of the next chunk to count, small ones would slip past a big one for ever. So the last chunk may
        pass the limit by up to a half of a full one; a worker that holds nothing gets any. While a request is alone it
        may have more queued: nobody waits for it, and a worker that prepares a chunk while it scores another needs it.
        """
        allowed = self.documents
        if alone and self._measured is None:
            allowed = min(self._most, allowed + _QUEUED_CHUNKS_ALONE * self._chunk)
        return held == 0 or held + self._chunk // 2 <= allowed

    def observe(self, *, documents: int, tokens: int, held: int, seconds: float) -> None:
        """Learn from a call that ended well.

        Args:
            documents: Of this call.
            tokens: Of this call, about; at least 1.
            held: Documents the worker held when it began, this call's included.
            seconds: Its latency.
        """
        self._results += 1
        if self._measured is not None:
            self._measure(self._measured, documents, tokens, held, seconds)
            return
        self._shortest.record(tokens, seconds)
        waited_s = max(0.0, seconds - self._shortest.seconds(tokens) - _CLOCK_S)
        queued = held * waited_s / seconds if seconds > 0 else 0.0
        held_something_back = not self.allows(held)
        if held_something_back and queued < max(_LEAST_QUEUED_CHUNKS * self._chunk, _LEAST_QUEUED_SHARE * held):
            self._limit = min(self._most, self._limit + max(1, documents / 2))
        elif queued > max(_MOST_QUEUED_CHUNKS * self._chunk, _MOST_QUEUED_SHARE * held):
            self._limit = max(self._least, self._limit * _DECREASE)
        if self._results >= _RESULTS_BETWEEN_MEASUREMENTS:
            self._measured, self._results = _Shortest(), 0

    def _measure(self, measured: "_Shortest", documents: int, tokens: int, held: int, seconds: float) -> None:
        """Count a call towards the new shortest latencies."""
        if held != documents and held >= self._least + self._chunk:
            # It began before the worker's queue had become short.
            self._results -= 1
            return
        measured.record(tokens, seconds)
        if self._results >= _RESULTS_PER_MEASUREMENT:
            self._shortest = measured
            self._measured, self._results = None, 0


class _Shortest:
    """The shortest latencies of calls by size.

    A larger call takes longer, but not longer per token, since a part of each call doesn't grow with it. So every size
    that was seen bounds all others, and a size that comes up for the first time isn't taken for one without a queue.
    """

    def __init__(self) -> None:
        # Seconds of this size or a larger one; seconds per token of this size or a smaller one.
        self._seconds = [float("inf")] * _SIZES
        self._per_token = [float("inf")] * _SIZES

    def record(self, tokens: int, seconds: float) -> None:
        """Note that a call of `tokens` took `seconds`."""
        size = _size_of(tokens)
        while size >= 0 and seconds < self._seconds[size]:
            self._seconds[size] = seconds
            size -= 1
        size, per_token = _size_of(tokens), seconds / tokens
        while size < _SIZES and per_token < self._per_token[size]:
            self._per_token[size] = per_token
            size += 1

    def seconds(self, tokens: int) -> float:
        """The shortest latency of a call of `tokens`; one of its size was recorded."""
        size = _size_of(tokens)
        return min(self._seconds[size], self._per_token[size] * tokens)


def _size_of(tokens: int) -> int:
    return min(_SIZES - 1, int(_SIZES_PER_DOUBLING * log2(tokens)))
