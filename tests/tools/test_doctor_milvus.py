"""The doctor before Milvus's other providers and timeouts: each mistake in them is named with what to write."""

import gzip
import json

import pytest

from app.settings import Settings
from app.tools.doctor import Findings
from tests.fake_vllm import FakeVllm
from tests.running import gateway
from tests.tools.conftest import Examine
from tests.tools.front import Alter, Answer, Request, front
from tests.tools.reading import levels, told

_NO_ROUTE = Answer(404, b'{"detail":"Not Found"}')


def only(*paths: str) -> Alter:
    """A proxy that passes these paths on, and serves Voyage's shape below `/voyage`, as far as it is among them."""

    def alter(request: Request, right: Answer) -> Answer:
        path = request.path.partition("?")[0]
        if "rerank" in path and path not in paths:
            return _NO_ROUTE
        if path == "/voyage/rerank":
            rows = [
                {"index": place, "relevance_score": 0.5} for place in range(len(json.loads(request.body)["documents"]))
            ]
            return Answer(200, json.dumps({"object": "list", "data": rows}).encode())
        return right

    return alter


def voyageai(found: Findings) -> tuple[str, str]:
    """The level, and what was seen."""
    (finding,) = (one for one in found if one.id == "milvus-voyageai")
    return finding.level, finding.seen


async def test_the_url_where_voyageai_gets_its_own_shape_is_told(examine: Examine, healthy: FakeVllm):
    async with gateway(healthy) as client, front(client, only("/rerank", "/voyage/rerank")) as (url, _):
        found = await examine(url)
    level, seen = voyageai(found)
    assert (level, seen.rpartition(" ")[2]) == ("green", f"{url}/voyage/rerank")


@pytest.mark.parametrize(
    ("path", "level", "words"),
    [
        ("", "green", "its url is URL/voyage/rerank"),
        ("/voyage/rerank", "green", "its url is URL/voyage/rerank"),
        ("/voyage", "yellow", "write URL/voyage/rerank as url of voyageai"),
        ("/rerank", "yellow", "write URL/voyage/rerank as url of voyageai"),
    ],
)
async def test_a_gateway_has_the_url_where_voyageai_gets_its_own_shape(
    path: str, level: str, words: str, examine: Examine, healthy: FakeVllm
):
    async with gateway(healthy) as client:
        found = await examine(f"{client.base_url}{path}", healthy.url)
    (finding,) = (one for one in found if one.id == "milvus-voyageai")
    assert finding.level == level
    assert words.replace("URL", str(client.base_url)) in f"{finding.seen} -> {finding.fix}"
    assert found.worst == level


async def test_where_a_proxy_drops_the_prefix_the_query_string_chooses(examine: Examine, healthy: FakeVllm):
    async with gateway(healthy) as client, front(client, only("/rerank", "/v2/rerank", "/rerank/")) as (url, _):
        found = await examine(f"{url}/v1")
    level, seen = voyageai(found)
    assert (level, seen.rpartition(" ")[2]) == ("green", f"{url}/rerank?dialect=voyage")


@pytest.mark.parametrize("path", ["/rerank", "/rerank/", "/v1/rerank"])
async def test_a_url_that_gives_every_document_0_is_named_with_the_right_one(
    path: str, examine: Examine, healthy: FakeVllm
):
    paths = ("/rerank", "/v1/rerank", "/voyage/rerank")
    async with gateway(healthy) as client, front(client, only(*paths)) as (url, asked):
        found = await examine(f"{url}{path}")
    seen = told(found, "milvus-voyageai", "yellow")
    assert f"POST {path.rstrip('/')} of the provider voyageai is answered in another shape" in seen
    assert "every document scores 0" in seen
    assert f"write {url}/voyage/rerank as url of voyageai" in seen
    bodies = [json.loads(request.body) for request in asked if request.path == "/voyage/rerank"]
    assert [body.keys() for body in bodies] == [{"documents", "model", "query"}]


async def test_a_url_without_its_ending_is_named_with_the_right_one(examine: Examine, healthy: FakeVllm):
    async with gateway(healthy) as client, front(client, only("/rerank", "/voyage/rerank")) as (url, _):
        seen = told(await examine(f"{url}/voyage"), "milvus-voyageai", "yellow")
    assert "POST /voyage of the provider voyageai was answered 404" in seen
    assert f"write {url}/voyage/rerank" in seen


async def test_the_right_url_of_voyageai_is_green_with_its_path(examine: Examine, healthy: FakeVllm):
    async with gateway(healthy) as client, front(client, only("/rerank", "/voyage/rerank")) as (url, _):
        found = await examine(f"{url}/voyage/rerank")
    assert (voyageai(found)[0], levels(found)["path"]) == ("green", "green")


async def test_a_server_without_voyages_shape_is_yellow_and_the_gateway_named(examine: Examine, healthy: FakeVllm):
    async with gateway(healthy) as client, front(client, by_vllm) as (url, _):
        seen = told(await examine(url), "milvus-voyageai", "yellow")
    assert "put the gateway in front and end the url in milvus.yaml with /voyage/rerank" in seen


def by_vllm(request: Request, right: Answer) -> Answer:
    """vLLM reads no dialect, and has no route below a prefix."""
    if "dialect=voyage" not in request.path:
        return only("/rerank", "/v2/rerank", "/rerank/")(request, right)
    rows = json.loads(right.body)["data"]
    return right._replace(body=json.dumps({"results": rows}).encode())


async def test_a_dialect_in_the_endpoint_of_another_provider_is_red(examine: Examine, healthy: FakeVllm):
    async with gateway(healthy) as client:
        seen = told(await examine(f"{client.base_url}?dialect=voyage"), "results", "red")
    assert "0 results for 5 documents" in seen
    assert "look at dialect= in the endpoint" in seen


async def test_a_model_in_the_path_of_an_endpoint_is_named_with_the_query_string(examine: Examine, healthy: FakeVllm):
    async with gateway(healthy) as client:
        seen = told(await examine(f"{client.base_url}/models/tiny-reranker"), "path", "yellow")
    assert "put /rerank in its place" in seen
    assert "?model=NAME" in seen


async def test_answers_that_a_proxy_packs_with_gzip_are_read(examine: Examine, healthy: FakeVllm):
    def packed(_: Request, right: Answer) -> Answer:
        return right._replace(body=gzip.compress(right.body), more="Content-Encoding: gzip\r\n")

    async with gateway(healthy) as client, front(client, packed) as (url, _):
        found = await examine(url)
    assert [one for one in found if one.level == "red"] == []
    assert (levels(found)["encoding"], levels(found)["order"]) == ("green", "green")


@pytest.mark.parametrize(
    ("deadline_s", "milvus_s", "level", "words"),
    [
        (25, 30, "green", "below the 30 s of Milvus"),
        (40, 30, "red", "after 30 s, and its user never reads why -> set RERANK_DEADLINE_S to 25 or less"),
        (40, 30, "red", "timeout_ms of the function or function.model.requestTimeout in milvus.yaml (3.0) above 40000"),
        (50, 60, "green", "below the 60 s of Milvus"),
        (25, 60, "yellow", "slower searches fail, though Milvus would wait 60 s -> set RERANK_DEADLINE_S to 55"),
        (25, 10, "red", "after 10 s, and its user never reads why -> set RERANK_DEADLINE_S to 5 or less"),
    ],
)  # fmt: skip
async def test_the_deadline_is_held_against_what_milvus_waits(
    deadline_s: int, milvus_s: int, level: str, words: str, examine: Examine
):
    settings = Settings(deadline_s=deadline_s)
    found = await examine("http://127.0.0.1:9", settings=settings, knows_settings=True, milvus_timeout_s=milvus_s)
    (finding,) = (one for one in found if one.id == "deadline")
    assert finding.level == level
    assert words in f"{finding.seen} -> {finding.fix}"


async def test_a_backend_that_only_a_longer_timeout_has_time_for_is_red_without_and_not_with_it(examine: Examine):
    async with gateway(FakeVllm(per_document_s=0.04)) as client:
        found = await examine(str(client.base_url), milvus_timeout_s=300.0)
    assert levels(found)["time"] == "green"
