"""Admission: what is pending stays bounded, in all and per API key."""

from collections import Counter

from app.errors import Overloaded
from app.policy.shedding import shed
from app.queueing.scheduler import Scheduler
from app.settings import Settings
from app.types import Fingerprint, RequestContext


class Admission:
    """Admits requests, or refuses them at once.

    Args:
        scheduler: Tells what waits, and how fast it gets done.
        settings: Limits of what may be pending.
    """

    def __init__(self, scheduler: Scheduler, settings: Settings) -> None:
        self._scheduler = scheduler
        self._settings = settings
        self._pending: Counter[str] = Counter()
        self._by_model: Counter[str] = Counter()

    @property
    def pending_documents(self) -> int:
        """Documents that were let in and have no score yet."""
        return self._pending.total()

    def pending_of(self, model: str) -> int:
        """Documents that were let in for a model and have no score yet."""
        return self._by_model[model]

    def admit(self, context: RequestContext, documents: int, fingerprint: Fingerprint, *, now: float) -> None:
        """Let a request in, or raise.

        Args:
            context: The request's key and deadline.
            documents: Those of the request that have no score yet.
            fingerprint: Whose workers will score them.
            now: On the loop's clock.

        Raises:
            Overloaded: it can't be done in time, or there is more pending than the settings allow.
        """
        self.check_limits(context.key, documents)
        outlook = self._scheduler.outlook(context.key, documents, fingerprint)
        left_s, burst_s = context.deadline - now, self._settings.max_queue_wait_s
        refusal = shed(outlook, documents=documents, left_s=left_s, burst_s=burst_s)
        if refusal:
            limit = (
                f"RERANK_MAX_QUEUE_WAIT_S ({burst_s:g} s) allows no longer wait"
                if refusal.reason == "queue"
                else f"they can't be done in the {left_s:.1f} s left (RERANK_DEADLINE_S, or timeout_ms)"
            )
            message = f"{outlook.before:.0f} documents go before these {documents}: {limit}."
            raise Overloaded(message, reason=refusal.reason, retry_after_s=refusal.for_s)

    def check_limits(self, key: str, documents: int) -> None:
        """Raise Overloaded when so many documents more pass what the settings allow to be pending."""
        limits = self._settings
        own, everybody = self._pending[key], self._pending.total()
        most_per_key = limits.key_max_pending_documents.get(key, limits.max_pending_documents_per_key)
        # A request that is alone is let in whatever its size: it would never get in otherwise.
        if most_per_key and own and own + documents > most_per_key:
            is_its_own = key in limits.key_max_pending_documents
            name = "RERANK_KEY_MAX_PENDING_DOCUMENTS" if is_its_own else "RERANK_MAX_PENDING_DOCUMENTS_PER_KEY"
            message = (
                f"The key {key:.50} has {own} documents pending; {documents} more pass its {most_per_key} ({name})."
            )
            raise Overloaded(message, reason="key", retry_after_s=1.0)
        if everybody and everybody + documents > limits.max_pending_documents:
            most = limits.max_pending_documents
            message = (
                f"{everybody} documents are pending; {documents} more pass the {most} of RERANK_MAX_PENDING_DOCUMENTS."
            )
            raise Overloaded(message, reason="pending", retry_after_s=1.0)

    def begin(self, key: str, documents: int, model: str) -> None:
        """Count documents of a key for a model as pending, until as many have come to their `end`."""
        self._pending[key] += documents
        self._by_model[model] += documents

    def end(self, key: str, documents: int, model: str) -> None:
        """Count documents of a key for a model as pending no longer, however their scoring ended."""
        for counts, name in ((self._pending, key), (self._by_model, model)):
            counts[name] -= documents
            if not counts[name]:
                del counts[name]
