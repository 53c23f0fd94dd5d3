"""The tokens of a text, as a worker counts them."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from weakref import WeakKeyDictionary

from app.aio import OnLoop, StallDetector, in_parallel
from app.errors import ClosedBeforeResponse, Unreachable, WorkerError
from app.policy.token_estimate import likely_tokens
from app.types import Fingerprint
from app.workers.prober import Prober
from app.workers.registry import Registry
from app.workers.worker import Worker

# A tokenizer of Hugging Face takes 13 ms for 10,000 characters and 0.7 s for a million.
_LIMIT_S = 0.5
_LIMIT_S_PER_CHARACTER = 1e-6
# Of the time left, for each worker that is asked.
_SHARE = 0.1
_MOST_ASKED = 2
# How long a worker isn't asked to count after it failed to.
_PAUSE_S = 30.0
# Of several texts, so many are counted for one request, and so many at a time.
_MOST_TEXTS = 64
_AT_A_TIME = 8
# Numbers that are remembered, which take 3 MB: the documents of a collection come again and again.
_MOST_KNOWN = 20_000


class TokenCounter(OnLoop):
    """Counts tokens on workers, and estimates them when none counts in time.

    Args:
        registry: Tells which workers serve a model.
        prober: Told about workers that can't be reached.
        stalls: Tells when this process stood still, which is no worker's fault.
    """

    def __init__(self, *, registry: Registry, prober: Prober, stalls: StallDetector) -> None:
        self._registry = registry
        self._prober = prober
        self._stalls = stalls
        self._counts_again_at: WeakKeyDictionary[Worker, float] = WeakKeyDictionary()
        # By text, of which only its hash is kept: 64 bits, with a secret of this process.
        self._known: dict[tuple[Fingerprint, int, int], int] = {}

    async def count(self, text: str, fingerprint: Fingerprint, deadline: float, *, request_id: str) -> int:
        """The tokens `text` has for a model, special tokens left out; an estimate when two workers don't count in time.

        Old releases have no /tokenize. A worker that failed to count isn't asked to for half a minute; it may score as
        well as ever.

        Args:
            text: Of any length.
            fingerprint: Only workers of this fingerprint are asked.
            deadline: Of the request, on the loop's clock, in seconds; each worker gets a tenth of what is left.
            request_id: Of the request.
        """
        counted = await self._count(text, fingerprint, deadline, request_id=request_id)
        return likely_tokens([text])[0] if counted is None else counted

    async def count_each(
        self, texts: Sequence[str], fingerprint: Fingerprint, deadline: float, *, request_id: str
    ) -> Sequence[int | None]:
        """The tokens of each text; None for those beyond the first 64, and for those that aren't counted in time.

        Numbers once counted are remembered, and cost nothing.

        Args:
            texts: Each of 32 kB at most, or about as long as the model.
            fingerprint: Only workers of this fingerprint are asked.
            deadline: Of the request, on the loop's clock, in seconds; all together get a tenth of what is left, one
                second at most.
            request_id: Of the request.
        """
        names = [(fingerprint, len(text), hash(text)) for text in texts]
        unknown = [place for place, name in enumerate(names) if name not in self._known]
        if unknown:
            left = iter(unknown[:_MOST_TEXTS])

            async def count_some() -> None:
                for place in left:
                    counted = await self._count(texts[place], fingerprint, deadline, request_id=request_id, turn=place)
                    if counted is not None:
                        self._remember(names[place], counted)

            with suppress(TimeoutError):
                async with asyncio.timeout(min(_MOST_ASKED * _LIMIT_S, _SHARE * (deadline - self._loop.time()))):
                    await in_parallel([count_some() for _ in unknown[:_AT_A_TIME]])
        return [*map(self._known.get, names)]

    def _remember(self, name: tuple[Fingerprint, int, int], tokens: int) -> None:
        self._known[name] = tokens
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

    async def _count(
        self, text: str, fingerprint: Fingerprint, deadline: float, *, request_id: str, turn: int = 0
    ) -> int | None:
        """The tokens of a text, from one of two workers; None when neither counts in time.

        Texts with other turns begin at other workers.
        """
        now = self._loop.time()
        enough_s = _LIMIT_S + _LIMIT_S_PER_CHARACTER * len(text)
        limit_s = min(enough_s, _SHARE * (deadline - now))
        able = [w for w in self._registry.usable(fingerprint) if self._counts_again_at.get(w, now) <= now]
        first = turn % max(1, len(able))
        for worker in (able[first:] + able[:first])[:_MOST_ASKED]:
            generation = worker.breaker.generation
            try:
                async with asyncio.timeout(limit_s):
                    return await worker.link.count_tokens(fingerprint.model, text, request_id=request_id)
            except TimeoutError:
                if limit_s < enough_s:
                    # A short deadline says nothing about the worker.
                    continue
            except ClosedBeforeResponse:
                # As a connection may do that was idle.
                continue
            except WorkerError as error:
                self._report(worker, error, generation)
            self._counts_again_at[worker] = self._loop.time() + _PAUSE_S
        return None

    def _report(self, worker: Worker, error: WorkerError, generation: int) -> None:
        """Mark a worker that couldn't be reached as failing, unless it has changed since it was asked."""
        is_of_now = generation == worker.breaker.generation and not self._stalls.has_just_stalled
        if isinstance(error, Unreachable) and is_of_now:
            self._prober.mark_failing(worker, error)
