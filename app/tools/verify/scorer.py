"""One worker, asked for scores as the gateway asks it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.errors import AttemptTimeout
from app.policy import truncate
from app.policy.split import split
from app.policy.token_estimate import most_tokens, pair_tokens
from app.settings import Settings
from app.types import Answer, Fingerprint, Pairs
from app.workers.link import WorkerLink

# Long enough for a whole list on a slow machine; what takes longer hangs.
_CALL_LIMIT_S = 300.0
_REQUEST_ID = "rerank-gateway-verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """Scores lists on one model of one worker.

    Args:
        link: The gateway's own way to the worker.
        fingerprint: The model, as the worker serves it.
        settings: Say how lists are cut, and what happens to long texts.
        on_scored: Told how many documents have been scored, after every call.
    """

    link: WorkerLink
    fingerprint: Fingerprint
    settings: Settings
    on_scored: Callable[[int], None] = lambda _: None

    async def score(self, pairs: Pairs) -> Answer:
        """The scores of one call.

        Raises:
            WorkerError: the worker gave none.
            BadInput: the query is too long for the model.
        """
        fields = await self._fields(pairs.queries[0])
        try:
            async with asyncio.timeout(_CALL_LIMIT_S):
                answer = await self.link.score(self.fingerprint.model, pairs, fields, request_id=_REQUEST_ID)
        except TimeoutError:
            count = len(pairs)
            raise AttemptTimeout(f"{self.link.name} didn't score {count} documents in {_CALL_LIMIT_S:g} s") from None
        self.on_scored(len(pairs))
        return answer

    def pieces(self, pairs: Pairs, max_batch: int) -> Sequence[Sequence[int]]:
        """The places of the pairs that go into each call, when a call may have `max_batch` of them."""
        return split(
            pair_tokens(pairs, self.fingerprint.max_model_len),
            workers=1,
            max_batch=max_batch,
            max_batch_tokens=self.settings.max_batch_tokens,
            min_batch=min(self.settings.min_batch, max_batch),
        )

    async def _fields(self, query: str) -> dict[str, object]:
        own, max_model_len = self.settings.for_model(self.fingerprint.model), self.fingerprint.max_model_len
        query_tokens = most_tokens(query)
        if truncate.needs_count(query, max_model_len):
            query_tokens = await self.link.count_tokens(self.fingerprint.model, query)
        return truncate.worker_fields(
            {},
            mode=own.truncation,
            long_documents=self.settings.long_documents,
            max_model_len=max_model_len,
            template_tokens=own.template_tokens,
            query_tokens=query_tokens,
        )
