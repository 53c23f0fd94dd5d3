"""What a web page can do from within a browser that reaches the gateway."""

import re
from typing import Any

import httpx
import pytest

from tests.fake_vllm import FakeVllm
from tests.security.raw import BODY, heard

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOREIGN = {"Origin": "https://page.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
PLACES = ("/rerank", "/v1/rerank", "/v2/rerank", "/score", "/v1/score", "/v1/models", "/version", "/metrics", "/docs")


@pytest.mark.parametrize(
    "types",
    [
        {},
        {"Content-Type": ""},
        {"Content-Type": "text/plain"},
        {"Content-Type": "text/plain; application/json"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=a"},
    ],
    ids=lambda types: types.get("Content-Type", "none"),
)
async def test_what_a_foreign_page_may_post_without_asking_is_not_scored(
    types: dict[str, str], client: httpx.AsyncClient, worker: FakeVllm
):
    scored = len(worker.scored)
    response = await client.post("/rerank", content=BODY, headers=FOREIGN | types)
    assert response.status_code == 415
    assert len(worker.scored) == scored


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("method", ["OPTIONS", "GET", "POST"])
async def test_no_answer_lets_a_foreign_page_read_it(method: str, place: str, client: httpx.AsyncClient):
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    response = await client.request(method, place, content=BODY, headers=FOREIGN | asking)
    assert not [name for name in response.headers if name.startswith("access-control-")]
    assert method != "OPTIONS" or response.status_code == 405


async def test_a_program_that_names_no_type_is_served_as_ever(client: httpx.AsyncClient):
    assert (await client.post("/rerank", content=BODY)).status_code == 200


FORWARDED = {
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "//evil.example",
    "X-Real-Ip": "127.0.0.1",
    "Forwarded": "for=127.0.0.1;host=evil.example",
    "X-Original-Url": "/metrics",
    "X-Rewrite-Url": "/metrics",
    "X-Http-Method-Override": "GET",
}


@pytest.mark.parametrize("place", ["/docs", "/openapi.json", "/v1/models", "/nothing", "/version"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:1/x", "[", "a b", "", "127.0.0.1@evil.example"])
async def test_neither_host_nor_forwarded_headers_change_an_answer(host: str, place: str, client: httpx.AsyncClient):
    usual = await client.get(place)
    response = await client.get(place, headers=FORWARDED | {"Host": host})
    assert (response.status_code, response.content) == (usual.status_code, usual.content)
    assert "evil.example" not in str(response.headers)


@pytest.mark.parametrize("target", [b"http://evil.example/version", b"//evil.example/version", b"/version#/metrics"])
async def test_an_absolute_address_reaches_nothing_but_the_gateway_itself(target: bytes, client: httpx.AsyncClient):
    answer = await heard(client, b"GET " + target + b" HTTP/1.1\r\nHost: gateway\r\n\r\n")
    assert answer.statuses in ([200], [404])
    head, _, body = answer.text.partition(b"\r\n\r\n")
    assert b"evil.example" not in head
    # The path that arrived is named to whoever sent it.
    assert b"evil.example" not in body or b"Nothing is at //evil.example/version" in body


@pytest.mark.parametrize(
    "path",
    [
        "../main.py",
        "%2e%2e/core.py",
        "..%2fcore.py",
        "..%5ccore.py",
        "....//core.py",
        "%252e%252e/core.py",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "swagger-ui.css/../../core.py",
        "swagger-ui.css%00.txt",
        "",
        ".",
    ],
)
async def test_the_pages_assets_lead_to_no_other_file(path: str, client: httpx.AsyncClient):
    request = b"GET /static-offline-docs/" + path.encode() + b" HTTP/1.1\r\nHost: gateway\r\n\r\n"
    answer = await heard(client, request)
    assert answer.statuses == [404]
    assert b"root:" not in answer.text
    assert b"import" not in answer.text


async def test_nothing_a_client_sends_becomes_a_label_of_a_metric(client: httpx.AsyncClient):
    def series(text: str) -> set[str]:
        return set(re.findall(r"^(rerank_requests_total\{[^}]*\}|rerank_\w+)", text, re.MULTILINE))

    body: dict[str, Any] = {"query": "q", "documents": ["a"]}
    await client.post("/rerank", json=body | {"model": "warm"})
    before = series((await client.get("/metrics")).text)
    for number in range(50):
        own = f"own-{number}"
        await client.post("/rerank", json=body | {"model": own}, headers={"X-Request-Id": own, "Host": own})
        await client.post(f"/rerank/{own}", json=body)
        await client.request(own.upper().replace("-", ""), "/rerank")
    text = (await client.get("/metrics")).text
    assert series(text) == before
    assert "own-" not in text
