"""A worker's state, as the gateway sees it."""

import asyncio
from collections.abc import Callable, Mapping

from app.errors import NotFinite, NotProbed, Unreachable, WorkerError
from app.policy.breaker import Breaker, State
from app.policy.concurrency_limit import ConcurrencyLimit
from app.settings import Settings
from app.types import Fingerprint
from app.workers.link import WorkerLink

_SHORTEST_BACK_OFF_S = 0.25
_LONGEST_BACK_OFF_S = 5.0
# However long it asks for: a probe may find it well earlier, but a `Retry-After` of an hour must not cost an hour.
_LONGEST_ASKED_BACK_OFF_S = 30.0
# As long as the longest pause before a retry: a worker that backs off longer isn't worth waiting for while others work.
_SHORT_BACK_OFF_S = 2.0
_MAX_CALL_DOCUMENTS_LIFETIME_S = 60.0
# A worker's speed long ago says nothing: after this long without a call it is tried as if it were new.
_SPEED_LIFETIME_S = 5.0
_SPEED_WEIGHT = 0.2


class Worker:
    """The state of a worker: the models it serves, whether it can be used, and its work in flight.

    It is well while its breaker is closed, and a breaker closes when a probe has seen what the worker serves and that
    it scores. It is usable while it is also ready, since a pod may work and not want more, and not drained, since its
    operator may want it to get no more. Work in flight is counted in calls, documents and tokens.

    Every change of whether it can be used, or for which models, is reported to `on_change`'s listener before anything
    else runs: what others derive from it can't be out of date.

    Args:
        link: Leads to the worker.
        settings: The calls and documents it may have in flight.
    """

    def __init__(self, link: WorkerLink, settings: Settings) -> None:
        self.link = link
        self.name = link.name
        self.breaker = Breaker()
        self.limit = ConcurrencyLimit(
            least=settings.worker_min_documents, most=settings.worker_max_documents, chunk=settings.max_batch
        )
        self.serves: Mapping[str, Fingerprint] = {}
        # What it says it serves, without the scores of the fixed pairs: known also of a worker that doesn't score.
        self.says: Mapping[str, Fingerprint] = {}
        self._is_ready = True
        self._is_drained = False
        self._tell: Callable[[], None] = _tell_nobody
        self._problem: WorkerError | None = NotProbed(f"{link.name} has not answered yet")
        self.calls = 0
        self.documents = 0
        self.tokens = 0
        self.backs_off_until = float("-inf")
        self.last_success_at = float("-inf")
        self.latency_s: float | None = None
        self._max_calls = settings.worker_max_calls
        self._back_off_s = 0.0
        self._backs_off_since = float("-inf")
        self._max_call_documents: int | None = None
        self._max_call_documents_until = float("-inf")
        self._slowness: float | None = None
        self._measured_at = float("-inf")
        # Held while a probe, or a call of a model check, is under way: one would keep the other past its time limit.
        self.own_call = asyncio.Lock()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def known_models(self) -> Mapping[str, Fingerprint]:
        """What it serves, by name; what it says it serves while its scores are no numbers, which no probe gets past."""
        return self.says if isinstance(self.problem, NotFinite) else self.serves

    def on_change(self, listener: Callable[[], None] | None) -> None:
        """Call `listener` after every change of whether the worker is usable, and for which models; None stops that."""
        self._tell = listener or _tell_nobody

    @property
    def is_ready(self) -> bool:
        """True while its source says that it may have work."""
        return self._is_ready

    @is_ready.setter
    def is_ready(self, is_ready: bool) -> None:
        if is_ready is not self._is_ready:
            self._is_ready = is_ready
            self._tell()

    @property
    def is_drained(self) -> bool:
        """True while its operator keeps work from it: chunks that wait go elsewhere, its calls are finished."""
        return self._is_drained

    @is_drained.setter
    def is_drained(self, is_drained: bool) -> None:
        if is_drained is not self._is_drained:
            self._is_drained = is_drained
            self._tell()

    @property
    def is_usable(self) -> bool:
        """True while it may be given work."""
        return self.is_well and self.is_ready and not self.is_drained

    @property
    def is_well(self) -> bool:
        """True while it works, as far as calls and probes have shown."""
        return self.breaker.state is State.CLOSED

    @property
    def problem(self) -> WorkerError | None:
        """The reason why it can't be used; None while it can."""
        if self._problem:
            return self._problem
        if self.is_drained:
            return Unreachable(f"{self.name} is drained")
        return None if self.is_ready else Unreachable(f"{self.name} is not ready")

    def has_room(self, now: float, *, alone: bool = False) -> bool:
        """True when it may get another chunk right now; `alone` says that the chunk is of the only request there is."""
        is_ready = self.backs_off_until <= now and self.calls < self._max_calls
        return is_ready and self.limit.allows(self.documents, alone=alone)

    def backs_off_long(self, now: float) -> bool:
        """True when it backs off for so long that a chunk had better go elsewhere, even where it failed before."""
        return self.backs_off_until > now + _SHORT_BACK_OFF_S

    def max_call_documents(self, now: float) -> int | None:
        """The documents it takes in one call at most; None for any number."""
        return self._max_call_documents if now < self._max_call_documents_until else None

    def slowness(self, now: float) -> float | None:
        """The factor by which its calls take longer than is usual for their size; None when not measured lately.

        One call then tries it anew; while that is under way what was last known still holds.
        """
        is_known = self.calls > 0 or now - self._measured_at < _SPEED_LIFETIME_S
        return self._slowness if is_known else None

    def shown(self, serves: Mapping[str, Fingerprint], *, since: float) -> None:
        """Note that a probe begun at `since` saw what it serves, and that it scores; a back-off from before it ends."""
        ends_back_off = self._backs_off_since < since and self.backs_off_until > since
        is_news = ends_back_off or not self.is_well or serves != self.serves
        self.serves = serves
        self._problem = None
        self.breaker.close()
        if ends_back_off:
            self.backs_off_until, self._back_off_s = since, 0.0
        if is_news:
            self._tell()

    def mark_failing(self, problem: WorkerError, now: float) -> None:
        """Take it out of use until a probe has seen it well. The models it served stay known."""
        self._problem = problem
        self.breaker.trip(now)
        self._tell()

    def suspend(self, problem: WorkerError, now: float) -> None:
        """Take it out of use until a probe, due at once, has seen what it is now."""
        self._problem = problem
        self.breaker.suspend(now)
        self._tell()

    def back_off(self, seconds: float | None, now: float) -> None:
        """Give it no call for `seconds`, at most 30; None, when it doesn't say how long, backs off ever longer."""
        if seconds:
            self._back_off_s = min(_LONGEST_ASKED_BACK_OFF_S, seconds)
        else:
            self._back_off_s = min(_LONGEST_BACK_OFF_S, max(_SHORTEST_BACK_OFF_S, 2 * self._back_off_s))
        self._backs_off_since = now
        self.backs_off_until = max(self.backs_off_until, now + self._back_off_s)

    def lower_max_call_documents(self, documents: int, now: float) -> None:
        """Halve the documents per call, after it refused a call of `documents` while it held nothing else."""
        self._max_call_documents = max(1, documents // 2)
        self._max_call_documents_until = now + _MAX_CALL_DOCUMENTS_LIFETIME_S

    def succeeded(self, now: float) -> None:
        """Note that a call ended well."""
        self.last_success_at = now
        self._back_off_s = 0.0

    def record_latency(self, *, seconds: float, usual_s: float | None, now: float) -> None:
        """Note that a call took `seconds`, or more; calls of its size usually take `usual_s`, if that is known.

        Seconds per token would make a worker that got small calls look slow: a part of each call doesn't grow with it.
        """
        self.latency_s = _nearer(self.latency_s, seconds)
        if usual_s:
            is_recent = now - self._measured_at < _SPEED_LIFETIME_S
            self._slowness = _nearer(self._slowness if is_recent else None, seconds / usual_s)
            self._measured_at = now

    def take(self, *, documents: int, tokens: int) -> None:
        """Count one more call in flight."""
        self._idle.clear()
        self.calls += 1
        self.documents += documents
        self.tokens += tokens

    def give_back(self, *, documents: int, tokens: int) -> None:
        """Count one call less in flight."""
        self.calls -= 1
        self.documents -= documents
        self.tokens -= tokens
        if not self.calls:
            self._idle.set()

    async def finish(self) -> None:
        """Wait until no call is in flight."""
        await self._idle.wait()

    def __repr__(self) -> str:
        state = self.breaker.state.value + (f" ({self.problem.message})" if self.problem else "")
        return f"<Worker {self.name} {state}, {self.calls} calls, {self.documents} documents in flight>"


def _tell_nobody() -> None:
    """Do nothing: the worker belongs to no registry."""


def _nearer(before: float | None, measured: float) -> float:
    """The moving average: each measurement but the first counts for a fifth, earlier ones ever less."""
    return measured if before is None else before + _SPEED_WEIGHT * (measured - before)
