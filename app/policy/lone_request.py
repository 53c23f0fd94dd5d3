"""The lone request: one that has the workers to itself.

While it has, it may have more queued on them (`app/policy/concurrency_limit.py`). Clients that send one request after
the other leave moments in which another one's is alone; so a request counts as alone after a second without others.
"""

from collections import defaultdict
from collections.abc import Hashable

_ALONE_AFTER_S = 1.0


class LoneRequest:
    """Counts the requests that have chunks waiting or under way."""

    def __init__(self) -> None:
        self._pieces: defaultdict[Hashable, int] = defaultdict(int)
        self._had_others_at = float("-inf")

    def enter(self, request: Hashable) -> None:
        """Count one more chunk of a request, which begins to wait."""
        self._pieces[request] += 1

    def leave(self, request: Hashable, now: float) -> None:
        """Count one chunk of a request less: it is done, or was given up."""
        if len(self._pieces) > 1:
            self._had_others_at = now
        self._pieces[request] -= 1
        if not self._pieces[request]:
            del self._pieces[request]

    def is_alone(self, now: float) -> bool:
        """True when there is one request, and has been no other for a second."""
        return len(self._pieces) == 1 and now - self._had_others_at > _ALONE_AFTER_S
