"""What a search in Milvus gets from a gateway over workers, over real sockets."""

import asyncio
import json
import re
from collections.abc import Sequence
from math import ceil
from typing import Any, get_args
from urllib.parse import quote

import httpx
import pytest

from app.settings import Settings
from tests.clients.go_http import IDLE_S
from tests.clients.go_json import Text, float32
from tests.clients.milvus import Hit, Milvus, MilvusError, Version
from tests.fake_vllm import FakeVllm, score_of, status
from tests.integration.commands import running
from tests.running import gateway

VERSIONS = get_args(Version)
QUERY = "renewable energy developments"


def over(client: httpx.AsyncClient, path: str = "", *, user: str = "", **more: Any) -> Milvus:
    """A proxy whose endpoint is the gateway, and which doesn't pause between tries."""
    host = client.base_url.netloc.decode()
    return Milvus(f"http://{user}{host}{path}", pauses_s=(0, 0), **more)


def hits_of(count: int) -> list[Hit]:
    return [(7 * number + 1000, f"document {number} about wind, sun & water <{number}>") for number in range(count)]


def right(hits: Sequence[Hit], query: str = QUERY) -> dict[int, float]:
    """The scores a search must get: of each hit's own text, as Milvus keeps them."""
    return {key: float32(score_of(query, as_read(text))) for key, text in hits}


def as_read(text: Text) -> str:
    """Every byte that is no UTF-8 is read as one U+FFFD."""
    if isinstance(text, str):
        return text
    return re.sub("[\udc80-\udcff]", "\ufffd", text.decode(errors="surrogateescape"))


def statuses(proxy: Milvus) -> set[int]:
    return {exchange.code for exchange in proxy.http.exchanges}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("batch", ["5000", None, "7"])
async def test_every_document_gets_its_own_score(version: Version, batch: str | None):
    hits = hits_of(5000 if batch != "7" else 100)
    params = {"max_client_batch_size": batch} if batch else {"maxBatch": "64"}
    async with gateway(FakeVllm(), FakeVllm()) as client, over(client, version=version, params=params) as proxy:
        scores = await proxy.search([QUERY], [hits])
    assert scores == [right(hits)]
    assert len(proxy.http.exchanges) == ceil(len(hits) / int(batch or 32))
    assert statuses(proxy) == {200}


async def test_the_largest_list_milvus_can_have_gets_its_scores():
    hits = hits_of(16_384)
    params = {"max_client_batch_size": "16384"}
    async with gateway(FakeVllm(), FakeVllm()) as client, over(client, params=params) as proxy:
        assert await proxy.search([QUERY], [hits]) == [right(hits)]


async def test_several_queries_each_get_their_own_scores():
    queries = ["wind", "sun", ""]
    found = [hits_of(40), hits_of(10), hits_of(33)]
    async with gateway(FakeVllm()) as client, over(client) as proxy:
        scores = await proxy.search(queries, found)
    assert scores == [right(hits, query) for query, hits in zip(queries, found, strict=True)]


async def test_another_order_of_the_documents_gives_the_same_scores():
    hits = hits_of(300)
    async with gateway(FakeVllm(), FakeVllm()) as client, over(client, version="2.6") as proxy:
        first = await proxy.search([QUERY], [hits])
        second = await proxy.search([QUERY], [hits])
    assert first == second == [right(hits)]
    bodies = [exchange.sent for exchange in proxy.http.exchanges]
    assert bodies[:10] != bodies[10:]


@pytest.mark.parametrize("version", VERSIONS)
async def test_any_path_in_the_endpoint_will_do(version: Version):
    async with gateway(FakeVllm()) as client:
        for path in ("", "/", "/v1", "/v1/rerank", "/v1/rerank/", "/rerank?model=tiny-reranker"):
            async with over(client, path, version=version) as proxy:
                assert await proxy.search([QUERY], [hits_of(3)]) == [right(hits_of(3))], path


@pytest.mark.parametrize(
    ("provider", "urls"),
    [
        ("tei", ["", "/v1/rerank"]),
        ("sglang", ["?dialect=sglang"]),
        ("cohere", ["/v2/rerank", "/v1/rerank", "/rerank"]),
        ("siliconflow", ["/v1/rerank", "/rerank"]),
        ("voyageai", ["/voyage/rerank", "/voyage/v1/rerank", "/rerank?dialect=voyage"]),
        ("ali", ["/rerank", "/v1/rerank"]),
        ("huggingface", ["", "/v1"]),
    ],
)
async def test_every_provider_reads_its_scores(provider: str, urls: list[str]):
    hits = hits_of(200)
    params = {"model_name": "tiny-reranker"}
    async with gateway(FakeVllm(), FakeVllm(), api_keys={"milvus": "key"}) as client:
        for url in urls:
            async with over(client, url, provider=provider, params=params, api_key="key") as proxy:
                assert await proxy.search([QUERY], [hits]) == [right(hits)], url
            assert statuses(proxy) == {200}


async def test_voyageai_reads_zeros_from_an_address_that_does_not_say_voyage():
    params = {"model_name": "tiny-reranker"}
    async with (
        gateway(FakeVllm()) as client,
        over(client, "/rerank", provider="voyageai", params=params, api_key="any") as proxy,
    ):
        (scores,) = await proxy.search([QUERY], [hits_of(3)])
    assert set(scores.values()) == {0.0}


@pytest.mark.parametrize(
    ("params", "sent"),
    [
        (
            {"truncate": "true", "truncation_direction": "Left"},
            {"truncate_prompt_tokens": -1, "truncation_side": "left"},
        ),
        (
            {"truncate": "true", "truncation_direction": "Right"},
            {"truncate_prompt_tokens": -1, "truncation_side": "right"},
        ),
        ({"truncate": "false"}, {}),
        ({}, {"truncate_prompt_tokens": -1}),
    ],
)
async def test_teis_truncation_reaches_the_worker_in_its_own_words(params: dict[str, str], sent: dict[str, Any]):
    worker = FakeVllm()
    async with gateway(worker) as client, over(client, provider="tei", params=params) as proxy:
        await proxy.search([QUERY], [hits_of(2)])
    assert worker.scored[0].body.items() >= sent.items()
    assert worker.scored[0].body.keys() - sent.keys() == {"model", "text_1", "text_2"}


async def test_a_url_with_a_slash_too_many_is_served_not_redirected():
    params = {"model_name": "tiny-reranker"}
    async with gateway(FakeVllm()) as client:
        for url in ("/v1/rerank/", "/v2/rerank/", "/rerank/", "/v2/rerank//"):
            async with over(client, url, provider="cohere", params=params, api_key="key") as proxy:
                assert await proxy.search([QUERY], [hits_of(3)]) == [right(hits_of(3))], url
            assert statuses(proxy) == {200}


async def test_any_text_arrives_as_it_is():
    texts: list[Text] = [
        "", "", " ", "<b>Wind & sun</b>", "\u2028\u2029", "\x00\x01\x1f\x7f", '"\\/\b\f\n\r\t', "可再生能源", "🌞",
        "e\u0301", "ﬁ", "same", "same", "a" * 100_000, b"cut \xe5\x8f", b"\xff\xfe", "\ufffd",
        "\ud7ff\ue000", "\U0010ffff",
    ]  # fmt: skip
    hits: list[Hit] = list(enumerate(texts))
    worker = FakeVllm()
    async with gateway(worker) as client, over(client) as proxy:
        scores = await proxy.search(['<q> & "ü"'], [hits])
    assert scores == [right(hits, '<q> & "ü"')]
    assert {document for call in worker.scored for document in call.documents} == {as_read(text) for text in texts}


async def test_equal_texts_under_different_keys_are_scored_once_and_get_equal_scores():
    worker = FakeVllm()
    hits: list[Hit] = [(key, f"text {key % 3}") for key in range(30)]
    async with gateway(worker) as client, over(client) as proxy:
        assert await proxy.search([QUERY], [hits]) == [right(hits)]
    assert [call.documents for call in worker.scored] == [["text 0", "text 1", "text 2"]]


@pytest.mark.parametrize("in_url", [True, False])
async def test_truncate_prompt_tokens_reaches_the_worker(in_url: bool):  # noqa: FBT001 - parametrized
    worker = FakeVllm()
    async with gateway(worker) as client:
        for tokens in ("-1", "128", "512"):
            path = f"?truncate_prompt_tokens={tokens}" if in_url else ""
            params = {} if in_url else {"truncate_prompt_tokens": tokens}
            async with over(client, path, params=params) as proxy:
                assert await proxy.search([QUERY], [hits_of(3)]) == [right(hits_of(3))]
            assert worker.scored[-1].body["truncate_prompt_tokens"] == int(tokens)


async def test_a_plain_search_asks_the_worker_for_scores_cut_to_the_models_length_and_nothing_else():
    worker = FakeVllm()
    async with gateway(worker) as client, over(client) as proxy:
        await proxy.search([QUERY], [hits_of(1)])
    assert worker.scored[0].body == {
        "model": "tiny-reranker",
        "text_1": QUERY,
        "text_2": [hits_of(1)[0][1]],
        "truncate_prompt_tokens": -1,
    }


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_query_string_chooses_the_model(version: Version):
    base, large = FakeVllm(model="BAAI/bge-reranker-base"), FakeVllm(model="large")
    models = {"large": {"aliases": ["alias"]}}
    async with gateway(base, large, models=models) as client:
        for model, worker in (("BAAI/bge-reranker-base", base), ("large", large), ("alias", large)):
            worker.calls.clear()
            async with over(client, f"?model={model}", version=version) as proxy:
                assert await proxy.search([QUERY], [hits_of(3)]) == [right(hits_of(3))]
            assert len(worker.scored) == 1


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_answer_names_the_documents_by_index_only(version: Version):
    params = {"max_client_batch_size": "1000"}
    async with gateway(FakeVllm()) as client, over(client, version=version, params=params) as proxy:
        await proxy.search([QUERY], [hits_of(1000)])
    (exchange,) = proxy.http.exchanges
    assert all(row.keys() == {"index", "relevance_score"} for row in json.loads(exchange.body)["results"])
    assert len(exchange.body) < 64_000


async def test_a_key_is_taken_as_basic_password_and_as_bearer():
    secret = "p@ss:w/rd %&?#ü"
    written = quote(secret, safe="")
    async with gateway(FakeVllm(), api_keys={"milvus": secret, "other": "plain"}) as client:
        for user, api_key in (
            (f"milvus:{written}@", ""),
            (f"anyone:{written}@", ""),
            ("milvus:wrong@", "plain"),
            ("", "plain"),
        ):
            async with over(client, user=user, api_key=api_key) as proxy:
                assert await proxy.search([QUERY], [hits_of(3)]) == [right(hits_of(3))]


async def test_batches_of_one_search_share_one_connection():
    async with gateway(FakeVllm()) as client, over(client, params={"max_client_batch_size": "5"}) as proxy:
        for _ in range(4):
            await proxy.search([QUERY, "wind"], [hits_of(100), hits_of(100)])
    assert len(proxy.http.exchanges) == 160
    assert proxy.http.opened == 1


async def test_a_hundred_searches_at_once_all_get_their_own_scores():
    queries = [f"query {number}" for number in range(100)]
    hits = [hits_of(40 + number) for number in range(100)]
    async with gateway(FakeVllm(), FakeVllm(), FakeVllm()) as client, over(client, version="2.6") as proxy:
        scores = await asyncio.gather(
            *(proxy.search([query], [found]) for query, found in zip(queries, hits, strict=True))
        )
    assert scores == [[right(found, query)] for query, found in zip(queries, hits, strict=True)]
    assert statuses(proxy) == {200}


async def test_the_connection_survives_every_error_about_a_request_that_had_come_whole():
    params = {"max_client_batch_size": "5000"}
    async with (
        gateway(FakeVllm(always=status(400)), api_keys={"milvus": "key"}) as client,
        over(client, params=params) as proxy,
    ):
        endpoint = proxy.endpoint
        for key, query in (("", ""), ("wrong", ""), ("key", "?model=no"), ("key", "")):
            proxy.api_key, proxy.endpoint = key, endpoint + query
            with pytest.raises(MilvusError):
                await proxy.search([QUERY], [hits_of(100)])
    assert len(proxy.http.exchanges) == 12
    assert proxy.http.opened == 1


async def test_an_idle_connection_is_kept_as_long_as_the_setting_says():
    async with FakeVllm().running() as worker:

        async def connections(idle_s: float, **settings: str) -> int:
            async with running("serve", worker, **settings) as served:
                await served.until_usable()
                async with Milvus(served.url) as proxy:
                    await proxy.search([QUERY], [hits_of(3)])
                    await asyncio.sleep(idle_s)
                    assert await proxy.search([QUERY], [hits_of(3)]) == [right(hits_of(3))]
            return proxy.http.opened

        opened = await asyncio.gather(
            connections(0.3, KEEP_ALIVE_S="2"), connections(2.3, KEEP_ALIVE_S="1"), connections(2.3)
        )
    assert list(opened) == [1, 2, 1]


def test_by_default_an_idle_connection_outlives_gos_own_patience():
    assert Settings().keep_alive_s >= 120 > IDLE_S
