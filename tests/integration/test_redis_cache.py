"""Gateways that share a Redis, over real sockets: what one has scored the others know, and none depends on it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.assembly import Assembly
from app.settings import Settings
from app.types import RequestStats
from tests.cache.middleman import Middleman
from tests.cache.valkey import Valkey, valkey
from tests.fake_vllm import FakeVllm, score_of
from tests.integration.commands import run
from tests.running import gateway
from tests.virtual import score
from tests.waiting import until, until_it

DOCUMENTS = [f"document {number}" for number in range(50)]


@pytest.fixture
async def server() -> AsyncIterator[Valkey]:
    async with valkey() as running:
        yield running


@pytest.fixture
async def worker() -> AsyncIterator[FakeVllm]:
    async with FakeVllm().running() as running:
        yield running


def sharing(worker: FakeVllm, url: str, **settings: Any) -> Any:
    """A gateway that shares by the Redis at `url`."""
    return gateway(worker, cache=True, redis_url=url, **{"redis_timeout_s": 0.5} | settings)


async def hits(client: httpx.AsyncClient, documents: list[str] = DOCUMENTS, key: str = "") -> int:
    """How many documents the gateway knew the scores of; those of all of them are right."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    response = await client.post("/rerank", json={"query": "q", "documents": documents}, headers=headers)
    assert response.status_code == 200, response.text
    found = {row["index"]: row["relevance_score"] for row in response.json()["results"]}
    assert found == {place: score_of("q", document) for place, document in enumerate(documents)}
    return int(response.headers["X-Rerank-Cache-Hits"])


async def until_they_share(*clients: httpx.AsyncClient) -> None:
    """Wait until the gateways ask Redis."""
    for client in clients:
        await until_it(partial(_is_above, client, "rerank_redis_usable", 0))


async def sample(client: httpx.AsyncClient, name: str, **labels: str) -> float:
    families = text_string_to_metric_families((await client.get("/metrics")).text)
    samples = (sample for family in families for sample in family.samples)
    return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())


async def test_what_one_gateway_scores_the_other_knows(server: Valkey, worker: FakeVllm):
    async with sharing(worker, server.url) as one, sharing(worker, server.url) as other:
        await until_they_share(one, other)
        assert await hits(one) == 0
        await server.until_keys(50)
        calls = len(worker.scored)
        assert await hits(other) == 50
        assert await sample(other, "rerank_documents_total", source="redis") == 50
        assert await hits(other) == 50
        assert await sample(other, "rerank_documents_total", source="memory") == 50
        assert len(worker.scored) == calls


async def test_a_gateway_asks_once_for_what_it_does_not_remember(server: Valkey, worker: FakeVllm):
    async with Middleman(server.port).running() as middleman, sharing(worker, middleman.url) as one:
        await until_they_share(one)
        await hits(one, DOCUMENTS[:20])
        middleman.asked.clear()
        assert await hits(one) == 20
        assert [len(command) - 1 for command in _lookups(middleman)] == [30]
        assert await hits(one) == 50
        assert len(_lookups(middleman)) == 1


def _lookups(middleman: Middleman) -> list[list[bytes]]:
    """What was asked about pairs; names of weights and checks of models are asked for in the same way."""
    asked = [command for command in middleman.asked if command[0] == b"MGET"]
    return [command for command in asked if not command[1].startswith((b"rerank:1:weights:", b"rerank:1:check:"))]


async def test_keys_share_with_themselves_on_other_gateways_and_only_by_the_same_secret(
    server: Valkey, worker: FakeVllm, tmp_path: Path
):
    secrets = [tmp_path / "one", tmp_path / "other"]
    for path in secrets:
        path.write_text(f"a secret of its own: {path.name}")
    keys = {"a": "key-a", "b": "key-b"}
    async with (
        sharing(worker, server.url, api_keys=keys, cache_secret_file=secrets[0]) as one,
        sharing(worker, server.url, api_keys=keys, cache_secret_file=secrets[0]) as same,
        sharing(worker, server.url, api_keys=keys, cache_secret_file=secrets[1]) as other,
    ):
        await until_they_share(one, same, other)
        await hits(one, key="key-a")
        await server.until_keys(50)
        assert await hits(same, key="key-b") == 0
        assert await hits(other, key="key-a") == 0
        assert await hits(same, key="key-a") == 50


@asynccontextmanager
async def engine(worker: FakeVllm, url: str) -> AsyncIterator[Assembly]:
    made = Assembly(Settings(workers=(worker.url,), redis_url=url, redis_timeout_s=0.5))
    async with made.running():
        await until(lambda: made.redis is not None and made.redis.is_usable)
        yield made


async def known(made: Assembly) -> int:
    """How many documents' scores the engine knows; it asks for all of them."""
    stats = RequestStats()
    await score(made, DOCUMENTS, cache="default", stats=stats)
    return stats.cache_hits


async def test_a_flush_reaches_the_other_gateway_within_seconds(server: Valkey, worker: FakeVllm):
    async with engine(worker, server.url) as one, engine(worker, server.url) as other:

        async def both_know() -> bool:
            return await known(one) + await known(other) == 100

        await until_it(both_know)
        one.cache.flush(worker.model)
        flushed = perf_counter()
        assert await known(one) == 0

        async def has_forgotten() -> bool:
            before = len(worker.scored)
            await score(other, DOCUMENTS[:1], cache="default", query="another")
            return len(worker.scored) > before

        await score(other, DOCUMENTS[:1], cache="default", query="another")
        await until_it(has_forgotten)
        assert perf_counter() - flushed < 6


async def test_requests_go_on_while_redis_is_killed_and_share_again_once_it_is_back(server: Valkey, worker: FakeVllm):
    async with sharing(worker, server.url, cache_max_bytes=0) as one:
        await until_they_share(one)
        ended = asyncio.Event()

        async def ask_on() -> int:
            asked = 0
            while not ended.is_set():
                await hits(one)
                asked += 1
            return asked

        asking = [asyncio.create_task(ask_on()) for _ in range(4)]
        await until_it(lambda: _is_above(one, "rerank_documents_total", 0, source="redis"))
        await server.kill()
        await hits(one)
        await server.start()
        shared = await sample(one, "rerank_documents_total", source="redis")
        await until_it(lambda: _is_above(one, "rerank_documents_total", shared, source="redis"))
        ended.set()
        assert all(await asyncio.gather(*asking))


async def test_requests_wait_no_longer_than_they_may_for_a_redis_that_hangs(server: Valkey, worker: FakeVllm):
    async with sharing(worker, server.url, cache_max_bytes=0, redis_timeout_s=0.1) as one:
        await until_they_share(one)
        await hits(one)
        server.hang()
        took_s = []
        for _ in range(20):
            began = perf_counter()
            assert await hits(one) == 0
            took_s.append(perf_counter() - began)
        # Three lookups show that it doesn't answer; the other requests don't ask it.
        assert sum(each >= 0.1 for each in took_s) < 10
        assert min(took_s) < 0.1
        assert await sample(one, "rerank_redis_failures_total", reason="timeout") == 3
        server.wake()

        async def knows_again() -> bool:
            return await hits(one) == 50

        await until_it(knows_again)


async def test_a_gateway_starts_and_serves_without_its_redis(worker: FakeVllm):
    async with sharing(worker, "redis://user:hush@127.0.0.1:9") as one:
        assert await hits(one) == 0
        assert await hits(one) == 50


async def test_check_config_shows_nothing_of_the_url_of_redis():
    shown = await run("check-config", REDIS_URL="redis://user:hush@cache:6379")
    assert shown.code == 0
    assert "hush" not in shown.out + shown.err
    refused = await run("check-config", REDIS_URL="redis://user:hush@cache:port")
    assert refused.code == 2
    assert "hush" not in refused.out + refused.err


async def _is_above(client: httpx.AsyncClient, name: str, least: float, **labels: str) -> bool:
    return await sample(client, name, **labels) > least
