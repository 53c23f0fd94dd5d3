"""Wherever scores come from - workers, the cache, computations of others - they are those of one unsplit call."""

import asyncio
from collections import deque
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from app.assembly import Assembly
from app.errors import ClosedMidResponse, RerankError, Unavailable
from app.types import CacheUse
from tests.virtual import ScriptedLink, engine, on_virtual_clock, right_scores, score

DOCUMENTS = [f"document {number}" for number in range(30)]
MOMENTS = st.floats(0, 0.3)


class Ask(NamedTuple):
    """A request that comes `after_s`, and leaves after `stays_s` if it isn't None."""

    documents: list[str]
    after_s: float
    stays_s: float | None
    query: str
    key: str
    priority: int
    cache: CacheUse


ASKS = st.lists(
    st.builds(
        Ask,
        documents=st.lists(st.sampled_from(DOCUMENTS), min_size=1, max_size=30),
        after_s=MOMENTS,
        stays_s=st.none() | MOMENTS,
        query=st.sampled_from("qr"),
        key=st.sampled_from(["one", "two"]),
        priority=st.integers(-1, 1),
        cache=st.sampled_from(["default", "default", "default", "no-cache", "no-store"]),
    ),
    min_size=1,
    max_size=8,
)
SETTINGS = st.fixed_dictionaries(
    {
        "max_batch": st.integers(1, 12),
        "max_batch_tokens": st.integers(20, 400),
        "worker_max_calls": st.integers(1, 4),
        "cache_across_keys": st.booleans(),
        "cache_max_bytes": st.sampled_from([0, 2000, 2**20]),
        "hedge": st.booleans(),
    }
)
LINKS: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(
        dict,
        takes_s=MOMENTS,
        per_document_s=st.floats(0, 0.02),
        script=st.lists(st.sampled_from([None, ClosedMidResponse("w broke off"), Unavailable("w broke")]), max_size=5),
    ),
    min_size=1,
    max_size=3,
)


async def _play(made: Assembly, ask: Ask) -> None:
    await asyncio.sleep(ask.after_s)
    asked = score(
        made, ask.documents, query=ask.query, key=ask.key, priority=ask.priority, cache=ask.cache, within_s=600
    )
    try:
        async with asyncio.timeout(ask.stays_s):
            scored = await asked
    except (TimeoutError, RerankError):
        return
    assert scored.scores == right_scores(ask.documents, ask.query)


@given(warm=st.lists(st.sampled_from(DOCUMENTS)), asks=ASKS, options=SETTINGS, links=LINKS, seed=st.integers(0, 100))
@settings(max_examples=150, deadline=None)
def test_every_request_that_completes_has_the_right_scores_and_nothing_is_left_behind(
    warm: list[str], asks: list[Ask], options: dict[str, Any], links: list[dict[str, Any]], seed: int
):
    @on_virtual_clock
    async def run() -> None:
        workers = [
            ScriptedLink(f"w{number}", **link | {"script": deque(link["script"])}) for number, link in enumerate(links)
        ]
        async with engine(workers, seed=seed, min_batch=1, max_queue_wait_s=600, **options) as made:
            if warm:
                await _play(made, Ask(warm, 0, None, "q", "one", 0, "default"))
            await asyncio.gather(*[_play(made, ask) for ask in asks])

    run()


@given(asks=ASKS, options=SETTINGS, takes_s=st.lists(MOMENTS, min_size=1, max_size=3))
@settings(max_examples=80, deadline=None)
def test_while_nobody_leaves_and_no_worker_fails_each_pair_is_scored_once(
    asks: list[Ask], options: dict[str, Any], takes_s: list[float]
):
    @on_virtual_clock
    async def run() -> None:
        workers = [ScriptedLink(f"w{number}", takes_s=seconds) for number, seconds in enumerate(takes_s)]
        chosen = options | {"cache_max_bytes": 2**20, "cache_across_keys": True, "hedge": False}
        async with engine(workers, min_batch=1, max_queue_wait_s=600, **chosen) as made:
            staying = [ask._replace(stays_s=None, cache="default") for ask in asks]
            await asyncio.gather(*[_play(made, ask) for ask in staying])
        scored = [
            (call.pairs.queries[0], document)
            for link in workers
            for call in link.calls
            for document in call.pairs.documents
        ]
        assert len(scored) == len(set(scored))
        assert set(scored) == {(ask.query, document) for ask in staying for document in ask.documents}

    run()
