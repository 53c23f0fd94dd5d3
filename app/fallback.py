"""Scores when no worker can give any: lexical, and marked as such everywhere."""

import asyncio

import structlog

from app.admission import Admission
from app.errors import OutOfTime, RerankError
from app.fleet.fleet import Fleet
from app.fleet.lexical import LexicalLink
from app.metrics import Metrics
from app.work import Caller, Chunk, Fingerprint, Pairs, RerankRequest, Scored, Tally

LEXICAL = "lexical"
_MOST_DEGRADED = 1000


class Fallback:
    """The degraded state of models: entered when no worker is usable, and kept for a while.

    A Milvus search is several calls; a model that went to and fro between them would mix two scales in one result. That
    can't be ruled out, but it becomes rare.

    Args:
        fleet: Tells when workers are back.
        admission: Bounds what is pending here as on workers: it is this process that scores.
        hold_s: How long a model stays degraded at least.
        metrics: Count degraded answers.
    """

    def __init__(self, fleet: Fleet, *, admission: Admission, hold_s: float, metrics: Metrics) -> None:
        self._fleet = fleet
        self._admission = admission
        self._hold_s = hold_s
        self._metrics = metrics
        self._link = LexicalLink()
        self._until: dict[str | None, float] = {}
        self._log = structlog.get_logger()

    def holds(self, model: str | None) -> bool:
        """Whether the model that was asked for is degraded now."""
        until = self._until.get(model)
        if until is None:
            return False
        is_over = self._fleet.serves_now(model) or self._fleet.rules_out(model)
        if asyncio.get_running_loop().time() < until or not is_over:
            return True
        del self._until[model]
        self._log.warning("degraded_ended", model=model)
        return False

    def enter(self, model: str | None, reason: RerankError) -> None:
        """No worker of the model is usable: from now on its lists are scored here."""
        # As long as no worker has said which models there are, clients may have asked for any name.
        for earlier in list(self._until)[:-_MOST_DEGRADED]:
            del self._until[earlier]
        self._until[model] = asyncio.get_running_loop().time() + self._hold_s
        self._log.warning("degraded", model=model, fallback=LEXICAL, hold_s=self._hold_s, reason=reason.logged)

    async def score(self, request: RerankRequest, caller: Caller, tally: Tally) -> Scored:
        """Lexical scores for the whole list.

        Raises:
            Overloaded: more documents are pending than the settings allow.
            OutOfTime: the deadline passed.
        """
        documents = len(request.pairs)
        tally.model = LEXICAL
        self._admission.check_limits(caller.key, documents)
        self._admission.begin(caller.key, documents)
        try:
            async with asyncio.timeout_at(caller.deadline):
                answer = await self._link.score(_whole(request.pairs, caller))
        except TimeoutError:
            raise OutOfTime(f"Time ran out while {documents} documents were scored lexically.") from None
        finally:
            self._admission.end(caller.key, documents)
        self._metrics.degraded(documents)
        return Scored(model=request.model or LEXICAL, scores=answer.scores, tokens=0, degraded=LEXICAL)


def _whole(pairs: Pairs, caller: Caller) -> Chunk:
    mark = Fingerprint(LEXICAL, "", 0, "", "")
    return Chunk(pairs=pairs, fingerprint=mark, fields={}, pair_tokens=(), caller=caller, tokens=0)
