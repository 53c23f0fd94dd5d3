"""The doctor at the endpoint: what is healthy is green, and each fault is named with its fix."""

import json
import math
import re
import ssl
import time
from typing import Any

import pytest
import trustme

from app.settings import Settings
from app.tools.doctor import CHECKS
from tests.clients.go_http import request_bytes
from tests.clients.go_json import marshal
from tests.fake_vllm import FakeVllm, hang
from tests.listening import refusing_port
from tests.running import gateway
from tests.tools.conftest import Examine
from tests.tools.front import Answer, Request, front, rescored
from tests.tools.reading import levels, told


def unchanged(_: Request, right: Answer) -> Answer:
    return right


async def test_a_healthy_gateway_over_healthy_workers_is_all_green(examine: Examine, healthy: FakeVllm):
    other = FakeVllm(always=healthy.always)
    async with gateway(healthy, other) as client:
        found = await examine(str(client.base_url), healthy.url, other.url)
    assert found.worst == "green", [one for one in found if one.level != "green"]
    assert levels(found).keys() == {check for checks in CHECKS.values() for check in checks} - {
        "certificate",
        "deadline",
    }


async def test_the_requests_are_milvus_own_byte_for_byte(examine: Examine, healthy: FakeVllm):
    async with gateway(healthy) as client, front(client, unchanged) as (url, asked):
        await examine(f"{url}/v1/rerank?model=tiny-reranker", key="sekret")
    posts = [request for request in asked if request.head.startswith(b"POST")]
    assert {request.path.partition("?")[0] for request in posts} == {
        "/rerank",
        "/v1/rerank",
        "/v2/rerank",
        "/rerank/",
        "/voyage/rerank",
    }
    for request in posts:
        assert "model=tiny-reranker" in request.path
        fields = json.loads(request.body)
        assert request.body == marshal(fields)
        bearer = request.head.partition(b"Authorization: ")[2].partition(b"\r\n")[0].decode()
        headers = {"Content-Type": "application/json", "Authorization": bearer}
        assert request.head + request.body == request_bytes("POST", url + request.path, headers, request.body)
        assert fields.keys() <= {
            "documents", "query", "texts", "truncate", "truncate_prompt_tokens", "truncation_direction", "model"
        }  # fmt: skip


async def test_credentials_in_the_url_are_sent_as_milvus_sends_them(examine: Examine, healthy: FakeVllm):
    async with gateway(healthy, api_keys={"milvus": "s@cret"}) as client:
        url = str(client.base_url).replace("://", "://any:s%40cret@")
        assert (await examine(url, healthy.url)).worst == "green"


async def test_nothing_that_listens_is_said_with_a_word_about_containers(examine: Examine):
    with refusing_port() as port:
        found = await examine(f"http://127.0.0.1:{port}")
    seen = told(found, "address", "red")
    assert "nothing listens at http://127.0.0.1:" in seen
    assert "RERANK_PORT" in seen
    assert "inside a container localhost is the container" in seen


async def test_a_name_without_an_address_is_said(examine: Examine):
    seen = told(await examine("http://no-such-host.invalid:8080"), "address", "red")
    assert "no-such-host.invalid" in seen
    assert "correct the host" in seen


async def test_a_web_page_on_a_wrong_port_is_told_from_a_gateway(examine: Examine):
    page = Answer(404, b"<html><h1>404</h1></html>", "text/html", "Server: nginx\r\n")
    async with front(None, lambda *_: page) as (url, _):
        seen = told(await examine(url), "address", "red")
    assert "nginx answers at" in seen
    assert "correct the port" in seen


async def test_a_redirecting_proxy_is_named_with_where_it_leads(examine: Examine):
    moved = Answer(301, b"", more="Location: https://user:pw@gateway.example/?secret=1\r\n")
    async with front(None, lambda *_: moved) as (url, _):
        seen = told(await examine(url), "address", "red")
    assert "redirects to gateway.example/" in seen
    assert "as a GET" in seen
    assert "pw" not in seen
    assert "secret" not in seen


async def test_a_missing_and_a_wrong_key_are_named_with_where_it_goes(examine: Examine, healthy: FakeVllm):
    async with gateway(healthy, api_keys={"milvus": "sekret"}) as client:
        url = str(client.base_url)
        for given in (None, "wrong"):
            seen = told(await examine(url, key=given), "key", "red")
            assert "401" in seen
            assert "--key or RERANK_API_KEY" in seen
            assert "http://any:KEY@host" in seen
        assert (await examine(url, healthy.url, key="sekret")).worst == "green"


async def test_a_key_nobody_looks_at_is_yellow(examine: Examine, healthy: FakeVllm):
    async with gateway(healthy) as client:
        found = await examine(str(client.base_url), key="sekret")
    assert "RERANK_API_KEYS" in told(found, "wrong-key", "yellow")


async def test_two_models_without_a_default_are_named_with_the_ways_out(examine: Examine, healthy: FakeVllm):
    other = FakeVllm(model="other", root="/models/other", always=healthy.always)
    async with gateway(healthy, other) as client:
        url = str(client.base_url)
        found = await examine(url, healthy.url, other.url)
        seen = told(found, "model", "red")
        assert "there are several (other, tiny-reranker)" in seen
        assert "?model=NAME" in seen
        assert "RERANK_DEFAULT_MODEL" in seen
        assert "RERANK_DEFAULT_MODEL" in told(found, "workers-agree", "yellow")
        assert levels(await examine(f"{url}?model=other"))["model"] == "green"
        assert "does not exist" in told(await examine(f"{url}?model=none"), "model", "red")


FAULTS = {
    "too few results": (rescored(lambda answer: answer["results"].pop()), "results", "4 results for 5 documents"),
    "too many results": (
        rescored(lambda answer: answer["results"].append(answer["results"][0])),
        "results",
        "6 results for 5 documents",
    ),
    "an index twice": (
        rescored(lambda answer: answer["results"][0].update(index=answer["results"][1]["index"])),
        "results",
        "once each",
    ),
    "an error with status 200": (
        rescored(lambda answer: answer.pop("results")),
        "results",
        "0 results for 5 documents",
    ),
    "a NaN score": (
        rescored(lambda answer: answer["results"][0].update(relevance_score=math.nan)),
        "results",
        "no JSON",
    ),
    "a text score": (
        rescored(lambda answer: answer["results"][0].update(relevance_score="0.5")),
        "scores",
        "a relevance_score is a str",
    ),
    "a null score": (
        rescored(lambda answer: answer["results"][0].update(relevance_score=None)),
        "scores",
        "a relevance_score is null",
    ),
    "a score above float32": (
        rescored(lambda answer: answer["results"][0].update(relevance_score=1e39)),
        "scores",
        "too large for a float32",
    ),
    "half a token": (
        rescored(lambda answer: answer["usage"].update(total_tokens=7.5)),
        "tokens",
        "usage.total_tokens is 7.5",
    ),
    "an id that is a number": (rescored(lambda answer: answer.update(id=7)), "tokens", "id is no text"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_an_answer_that_milvus_would_read_wrong_is_red(name: str, examine: Examine, healthy: FakeVllm):
    alter, check, words = FAULTS[name]
    async with gateway(healthy) as client, front(client, alter) as (url, _):
        found = await examine(url)
    seen = told(found, check, "red")
    assert words in seen
    assert "put the gateway in front" in seen


async def test_a_score_outside_0_to_1_is_yellow(examine: Examine, healthy: FakeVllm):
    alter = rescored(lambda answer: answer["results"][0].update(relevance_score=-3.5))
    async with gateway(healthy) as client, front(client, alter) as (url, _):
        assert "-3.5" in told(await examine(url), "range", "yellow")


async def test_an_answer_that_milvus_can_not_unpack_is_red(examine: Examine, healthy: FakeVllm):
    def alter(request: Request, right: Answer) -> Answer:
        return right._replace(more="Content-Encoding: zstd\r\n") if "rerank" in request.path else right

    async with gateway(healthy) as client, front(client, alter) as (url, _):
        assert "encoded as zstd" in told(await examine(url), "encoding", "red")


async def test_scores_that_depend_on_the_order_are_yellow(examine: Examine, healthy: FakeVllm):
    def by_place(answer: dict[str, Any]) -> None:
        for row in answer["results"]:
            row["relevance_score"] = 0.9 - row["index"] / 10

    async with gateway(healthy) as client, front(client, rescored(by_place)) as (url, _):
        found = await examine(url)
    assert "another order" in told(found, "order", "yellow")
    assert "equal documents" in told(found, "duplicates", "yellow")


async def test_a_server_that_closes_idle_connections_early_is_yellow(examine: Examine, healthy: FakeVllm):
    async with gateway(healthy) as client, front(client, unchanged, idle_s=0.1) as (url, _):
        seen = told(await examine(url, idle_s=3), "keep-alive", "yellow")
    assert "closed after 0." in seen
    assert "RERANK_KEEP_ALIVE_S" in seen


@pytest.mark.parametrize(("limit", "level"), [(10**6, "red"), (5 * 10**6, "yellow")])
async def test_a_small_body_limit_of_a_proxy_is_named(limit: int, level: str, examine: Examine, healthy: FakeVllm):
    def alter(request: Request, right: Answer) -> Answer:
        return Answer(413, b"<html>", "text/html") if len(request.body) > limit else right

    async with gateway(healthy) as client, front(client, alter) as (url, _):
        seen = told(await examine(url), "body", level)
    assert "client_max_body_size" in seen
    assert "RERANK_MAX_BODY_BYTES" in seen


async def test_too_few_documents_per_call_are_red(examine: Examine, healthy: FakeVllm):
    async with gateway(healthy, max_documents=500) as client:
        assert "RERANK_MAX_DOCUMENTS" in told(await examine(str(client.base_url)), "documents", "red")


async def test_a_backend_too_slow_for_milvus_is_red_with_a_batch_size_that_fits(examine: Examine):
    worker = FakeVllm(per_document_s=0.04)
    async with gateway(worker) as client:
        seen = told(await examine(str(client.base_url)), "time", "red")
    assert "Milvus gives up on a call after 30 s" in seen
    (size,) = re.findall(r"set max_client_batch_size to (\d+)", seen)
    # What takes 8 s; less where the machine has other things to do.
    assert 1 < int(size) <= 200


@pytest.mark.parametrize(("deadline_s", "level"), [(25, "green"), (40, "red")])
async def test_a_deadline_that_milvus_does_not_wait_for_is_red(deadline_s: int, level: str, examine: Examine):
    settings = Settings(deadline_s=deadline_s)
    found = await examine("http://127.0.0.1:9", settings=settings, knows_settings=True)
    assert levels(found)["deadline"] == level


async def test_all_workers_hanging_is_told_in_time(examine: Examine):
    worker = FakeVllm(always=hang)
    async with gateway(worker, deadline_s=3, no_worker_wait_s=1) as client:
        started = time.monotonic()
        found = await examine(str(client.base_url), worker.url)
    assert time.monotonic() - started < 28
    assert "504" in told(found, "milvus-2.6", "red")
    assert "RERANK_PROBE_TIMEOUT_S" in told(found, "worker-scores", "red")


async def test_a_path_that_milvus_would_drop_is_yellow(examine: Examine, healthy: FakeVllm):
    async with gateway(healthy) as client:
        assert "/search/rerank" in told(await examine(f"{client.base_url}/search/rerank"), "path", "yellow")


async def test_a_certificate_nobody_trusts_is_red_and_insecure_goes_on(examine: Examine, healthy: FakeVllm):
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(serving)
    # A worker stands for any server with TLS.
    async with healthy.running(tls=serving):
        seen = told(await examine(healthy.url), "certificate", "red")
        assert "isn't trusted" in seen
        assert "--insecure" in seen
        assert "RERANK_WORKER_CA_FILE" in seen
        found = await examine(healthy.url, trusts_all=True)
        assert "was not looked at" in told(found, "certificate", "yellow")
        assert levels(found)["address"] == "green"
