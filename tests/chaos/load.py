"""Clients that rerank at a constant rate and check every answer."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, cycle
from random import Random
from secrets import token_hex
from time import perf_counter
from typing import Any

import aiohttp

from tests.chaos.stage import FIXED_S, PER_DOCUMENT_S
from tests.fake_vllm import score_of

_MOST_DOCUMENTS = 200
_TEXT = " of the things that people ask about and that somebody once wrote down" * 2
# The gateway's default `min_batch`: no list is cut into smaller pieces.
_SMALLEST_PIECE = 16


@dataclass
class Outcome:
    """What clients saw."""

    requests: int = 0
    told: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def quantile_ms(self, share: float) -> float:
        """Milliseconds within which `share` of the right answers came."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[math.ceil(share * len(ordered)) - 1] if ordered else math.nan


class Client:
    """Reranks, and knows the right answer.

    Args:
        session: Its connections.
        url: The gateway's.
        rng: Sizes and queries.
        may_be_told: Statuses that are no broken promise, as long as they say when to come back.
    """

    def __init__(
        self, session: aiohttp.ClientSession, url: str, *, rng: Random, may_be_told: frozenset[int] = frozenset()
    ) -> None:
        self.outcome = Outcome()
        self._session = session
        self._url = f"{url}/rerank"
        self._rng = rng
        self._may_be_told = may_be_told
        self._name = token_hex(8)
        self._numbers = count()

    def size(self) -> int:
        """From 1 to 200 documents, with as many small lists as big ones."""
        return _size(self._rng)

    async def rerank(self, size: int) -> None:
        """One request, counted and checked."""
        # A query of its own each time: what is cached tests no worker.
        query = f"query {self._name} {next(self._numbers)}"
        documents = [f"document {number}{_TEXT[: self._rng.randrange(len(_TEXT))]}" for number in range(size)]
        outcome, began = self.outcome, perf_counter()
        outcome.requests += 1
        try:
            async with self._session.post(self._url, json={"query": query, "documents": documents}) as response:
                status, headers, body = response.status, response.headers, await response.read()
        except (aiohttp.ClientError, TimeoutError) as exc:
            outcome.failed.append(f"{type(exc).__name__}: {exc}")
            return
        if status == 200:
            outcome.seconds.append(perf_counter() - began)
            outcome.sizes.append(size)
            if problem := _problem(json.loads(body), query, documents):
                outcome.wrong.append(problem)
        elif status in self._may_be_told and headers.get("Retry-After"):
            outcome.told.append(f"{status} {body.decode()}")
        else:
            outcome.failed.append(f"{status} {body.decode()}")

    async def leave(self) -> None:
        """Send a request, and close the connection after a moment."""
        body = {"query": "q", "documents": [f"{number}{_TEXT}" for number in range(_MOST_DOCUMENTS)]}
        timeout = aiohttp.ClientTimeout(total=self._rng.uniform(0.001, 0.2))
        with suppress(TimeoutError):
            async with self._session.post(self._url, json=body, timeout=timeout) as response:
                await response.read()


@asynccontextmanager
async def steady(clients: Sequence[Client], *, per_s: float) -> AsyncIterator[None]:
    """Requests at a constant rate during the block, by each client in turn; the block ends when all are answered."""
    tasks: set[asyncio.Task[None]] = set()
    sender = asyncio.create_task(_send(clients, 1 / per_s, tasks))
    try:
        yield
    finally:
        sender.cancel()
        await asyncio.gather(*tasks)


async def _send(clients: Sequence[Client], pause_s: float, tasks: set[asyncio.Task[None]]) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    for client in cycle(clients):
        tasks.add(asyncio.create_task(client.rerank(client.size())))
        due += pause_s
        await asyncio.sleep(due - loop.time())


def half_of(workers: int) -> float:
    """Requests per second that take half of what so many workers carry."""
    rng = Random(1)
    sizes = [_size(rng) for _ in range(10_000)]
    return workers * len(sizes) / work_s(sizes) / 2


def work_s(sizes: Sequence[int]) -> float:
    """How long one worker takes for requests of these sizes."""
    return sum(max(1, size // _SMALLEST_PIECE) * FIXED_S + size * PER_DOCUMENT_S for size in sizes)


def _size(rng: Random) -> int:
    return round(math.pow(_MOST_DOCUMENTS, rng.random()))


def _problem(answer: Any, query: str, documents: list[str]) -> str | None:
    scores = [score_of(query, document) for document in documents]
    right = sorted(range(len(documents)), key=lambda index: -scores[index])
    results = answer["results"]
    if [row["index"] for row in results] != right:
        return f"{len(documents)} documents in the wrong order"
    if [row["relevance_score"] for row in results] != [scores[index] for index in right]:
        return f"{len(documents)} documents with wrong scores"
    return None
