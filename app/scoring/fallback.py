"""Scores when no worker can give any: lexical, and marked as such everywhere."""

import asyncio

import structlog

from app.errors import DeadlineExceeded, RerankError
from app.policy.dedup import dedup
from app.policy.merge import expand
from app.queueing.admission import Admission
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.types import RequestContext, RerankRequest, Scored
from app.workers.lexical import LEXICAL_MODEL, LexicalLink
from app.workers.registry import Registry

_MOST_DEGRADED = 1000


class Fallback:
    """Scores lists of models that no worker serves; a model stays degraded for `fallback_hold_s` at least.

    A Milvus search is several calls: a model that changed to and fro between them would mix two scales in one result.
    The hold makes that rare; nothing can rule it out.

    Args:
        registry: Tells when workers are back.
        admission: Bounds what is pending here as on workers: it is this process that scores.
        settings: How long a model stays degraded at least.
        metrics: Count degraded answers.
    """

    def __init__(self, registry: Registry, admission: Admission, settings: Settings, metrics: Metrics) -> None:
        self._registry = registry
        self._admission = admission
        self._hold_s = settings.fallback_hold_s
        self._metrics = metrics
        self._link = LexicalLink()
        self._until: dict[str | None, float] = {}
        self._log = structlog.get_logger()

    def holds(self, model: str | None) -> bool:
        """A model that was asked for is degraded now."""
        until = self._until.get(model)
        if until is None:
            return False
        is_over = self._registry.serves_now(model) or self._registry.rules_out(model)
        if asyncio.get_running_loop().time() < until or not is_over:
            return True
        del self._until[model]
        self._log.warning("degraded_ended", model=model)
        return False

    def enter(self, model: str | None, reason: RerankError) -> None:
        """Score the model's lists here from now on: no worker of it is usable."""
        # As long as no worker has said which models there are, clients may have asked for any name.
        for earlier in list(self._until)[:-_MOST_DEGRADED]:
            del self._until[earlier]
        self._until[model] = asyncio.get_running_loop().time() + self._hold_s
        self._log.warning("degraded", model=model, fallback=LEXICAL_MODEL, hold_s=self._hold_s, reason=reason.redacted)

    async def score(self, request: RerankRequest, context: RequestContext) -> Scored:
        """Lexical scores for the whole list.

        Raises:
            Overloaded: more documents are pending than the settings allow.
            DeadlineExceeded: the deadline passed.
        """
        distinct, positions = dedup(request.pairs.texts())
        documents = len(distinct)
        context.stats.model = LEXICAL_MODEL
        self._admission.check_limits(context.key, documents)
        self._admission.begin(context.key, documents, LEXICAL_MODEL)
        try:
            async with asyncio.timeout_at(context.deadline):
                pairs = request.pairs.take(distinct)
                answer = await self._link.score(LEXICAL_MODEL, pairs, {}, request_id=context.request_id)
        except TimeoutError:
            raise DeadlineExceeded(f"Time ran out while {documents} documents were scored lexically.") from None
        finally:
            self._admission.end(context.key, documents, LEXICAL_MODEL)
        scores = expand(answer, positions).scores
        self._metrics.degraded(documents)
        self._metrics.documents("duplicate", len(scores) - documents)
        return Scored(model=request.model or LEXICAL_MODEL, scores=scores, tokens=0, degraded=LEXICAL_MODEL)
