"""One request -> scores: fold, split, score the chunks in parallel, merge."""

import asyncio
from collections.abc import Sequence
from typing import Any

from app.dispatch import Dispatch
from app.errors import FingerprintGone, NoWorker, WorkerError, told_to_client
from app.fleet.fleet import Fleet
from app.metrics import Metrics
from app.policy import truncate
from app.policy.estimate import SPECIAL_TOKENS, likely_tokens, most_tokens
from app.policy.fold import fold
from app.policy.split import split
from app.settings import ModelSettings, Settings
from app.work import Answer, Chunk, Fingerprint, Pairs, RerankRequest, Scored, Tally


class Gateway:
    """Scores a request as one unsplit call to a worker would, faster and more dependably."""

    def __init__(self, *, fleet: Fleet, dispatch: Dispatch, settings: Settings, metrics: Metrics) -> None:
        self._fleet = fleet
        self._dispatch = dispatch
        self._settings = settings
        self._metrics = metrics

    async def score(self, request: RerankRequest, *, request_id: str, deadline: float, tally: Tally) -> Scored:
        """One finite score per document of the request.

        Args:
            request: Freed from its dialect.
            request_id: Goes on to the workers.
            deadline: On the loop's clock, in seconds.
            tally: Counts on as the work goes on.

        Raises:
            RerankError: what the client is to be told.
        """
        until = min(deadline, asyncio.get_running_loop().time() + self._settings.no_worker_wait_s)
        model = await self._fleet.resolve(request.model, until=until)
        tally.model = model
        try:
            try:
                fingerprint = await self._fleet.pin(model, until=until)
                answer = await self._score_on(fingerprint, request, request_id, deadline, tally)
            except FingerprintGone:
                # Scores of two fingerprints don't mix: the request starts again, whole, on another.
                fingerprint = await self._fleet.pin(model, until=deadline)
                answer = await self._score_on(fingerprint, request, request_id, deadline, tally)
        except FingerprintGone:
            message = f"The workers of {model} changed twice while they worked on this request: try again."
            raise NoWorker(message, retry_after_s=1.0) from None
        except WorkerError as exc:
            raise told_to_client(exc) from exc
        return Scored(model=request.model or model, scores=answer.scores, tokens=answer.tokens)

    async def _score_on(
        self, fingerprint: Fingerprint, request: RerankRequest, request_id: str, deadline: float, tally: Tally
    ) -> Answer:
        """The request's scores, all from workers of one fingerprint."""
        own = self._settings.for_model(fingerprint.model)
        pairs, positions = (request.pairs, range(len(request.pairs))) if own.listwise else fold(request.pairs)
        fields = await self._worker_fields(request, fingerprint, own, deadline)
        tokens = _pair_tokens(pairs, fingerprint.max_model_len)
        pieces = [range(len(pairs))] if own.listwise else self._split(tokens, fingerprint)
        chunks = [
            Chunk(
                pairs=pairs if len(pieces) == 1 else pairs.take(piece),
                fingerprint=fingerprint,
                fields=fields,
                tokens=sum(tokens[index] for index in piece),
                request_id=request_id,
                deadline=deadline,
            )
            for piece in pieces
        ]
        tally.chunks += len(chunks)
        answers = await self._score_all(chunks, tally)
        self._metrics.documents("worker", len(pairs))
        self._metrics.documents("duplicate", len(request.pairs) - len(pairs))
        return _merge(answers, pieces, positions)

    async def _worker_fields(
        self, request: RerankRequest, fingerprint: Fingerprint, own: ModelSettings, deadline: float
    ) -> dict[str, Any]:
        query = max(request.pairs.queries, key=most_tokens)
        query_tokens = most_tokens(query)
        if truncate.needs_count(query, fingerprint.max_model_len):
            query_tokens = await self._dispatch.count_tokens(query, fingerprint, deadline)
        return truncate.worker_fields(
            request.fields,
            mode=own.truncation,
            long_documents=request.long_documents or self._settings.long_documents,
            max_model_len=fingerprint.max_model_len,
            template_tokens=own.template_tokens,
            query_tokens=query_tokens,
        )

    def _split(self, tokens: Sequence[int], fingerprint: Fingerprint) -> Sequence[Sequence[int]]:
        return split(
            tokens,
            workers=max(1, len(self._fleet.usable(fingerprint))),
            max_batch=self._settings.max_batch,
            max_batch_tokens=self._settings.max_batch_tokens,
            min_batch=self._settings.min_batch,
        )

    async def _score_all(self, chunks: Sequence[Chunk], tally: Tally) -> list[Answer]:
        """The chunks' answers, in order. The first failure cancels the rest and is raised."""
        if len(chunks) == 1:
            return [await self._dispatch.score(chunks[0], tally)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._dispatch.score(chunk, tally)) for chunk in chunks]
        except ExceptionGroup as failures:
            gone, others = failures.split(FingerprintGone)
            raise (gone or others or failures).exceptions[0] from None
        return [task.result() for task in tasks]


def _pair_tokens(pairs: Pairs, max_model_len: int) -> list[int]:
    """What each pair most likely costs a worker, which never reads on past `max_model_len`."""
    queries = [likely_tokens(query) + SPECIAL_TOKENS for query in pairs.queries]
    if len(queries) == 1:
        queries *= len(pairs)
    return [
        min(query + likely_tokens(document), max_model_len)
        for query, document in zip(queries, pairs.documents, strict=True)
    ]


def _merge(answers: Sequence[Answer], pieces: Sequence[Sequence[int]], positions: Sequence[int]) -> Answer:
    """The chunks' scores put back to where their documents stood before the split and the fold."""
    distinct = [0.0] * sum(map(len, pieces))
    for answer, piece in zip(answers, pieces, strict=True):
        for index, score in zip(piece, answer.scores, strict=True):
            distinct[index] = score
    return Answer([distinct[position] for position in positions], sum(answer.tokens for answer in answers))
