"""Pages of other sites: which may call the gateway from a browser, and what they may read."""

import httpx
import pytest

from tests.fake_vllm import FakeVllm
from tests.running import gateway
from tests.security.raw import BODY

PAGE = "https://page.example"
JSON = {"Origin": PAGE, "Content-Type": "application/json"}
ASKING = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-request-id",
}
EXPOSED = {
    "retry-after",
    "server-timing",
    "www-authenticate",
    "x-request-id",
    "x-rerank-cache-hits",
    "x-rerank-degraded",
}


def told(response: httpx.Response) -> dict[str, str]:
    """What an answer tells browsers about other sites."""
    return {name: value for name, value in response.headers.items() if name.startswith("access-control-")}


async def test_a_page_of_a_listed_origin_may_ask_and_read_every_answer():
    settings = {"cors_origins": ("http://localhost:3000", PAGE), "api_keys": "one:hush", "max_body_bytes": 1000}
    async with gateway(FakeVllm(), **settings) as client:
        preflight = await client.options("/v1/rerank", headers=ASKING)
        assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
        assert {"GET", "POST"} == {*preflight.headers["Access-Control-Allow-Methods"].split(", ")}
        assert preflight.headers["Access-Control-Allow-Headers"] == ASKING["Access-Control-Request-Headers"]
        assert "Origin" in preflight.headers["Vary"]
        assert "X-Request-Id" in preflight.headers
        known = JSON | {"Authorization": "Bearer hush"}
        answers = {
            200: await client.post("/v1/rerank", content=BODY, headers=known),
            401: await client.post("/rerank", content=BODY, headers=JSON),
            404: await client.post("/nothing", content=BODY, headers=known),
            405: await client.delete("/v1/models", headers=known),
            413: await client.post("/rerank", content=BODY + b" " * 1000, headers=known),
            415: await client.post("/rerank", content=BODY, headers=known | {"Content-Type": "text/plain"}),
        }
        answers[400] = await client.post("/rerank", content=b"{", headers=known)
        for status, answer in answers.items():
            assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, PAGE)
            assert {*answer.headers["Access-Control-Expose-Headers"].lower().split(", ")} == EXPOSED
            assert answer.headers["Vary"] == "Origin"
        assert (await client.get("/v1/models", headers=known)).headers["Access-Control-Allow-Origin"] == PAGE


@pytest.mark.parametrize("origin", ["https://page.example.evil.example", "http://page.example", "null", PAGE + ":8443"])
async def test_a_page_of_another_origin_may_neither_ask_nor_read(origin: str):
    async with gateway(FakeVllm(), cors_origins=(PAGE,)) as client:
        preflight = await client.options("/rerank", headers=ASKING | {"Origin": origin})
        answer = await client.post("/rerank", content=BODY, headers=JSON | {"Origin": origin})
    assert preflight.status_code == 400
    for response in (preflight, answer):
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("origins", ["*", PAGE])
async def test_no_browser_is_told_to_send_credentials_of_its_own(origins: str):
    async with gateway(FakeVllm(), cors_origins=origins) as client:
        preflight = await client.options("/rerank", headers=ASKING)
        answer = await client.post("/rerank", content=BODY, headers=JSON)
    for response in (preflight, answer):
        assert response.headers["Access-Control-Allow-Origin"] == origins
        assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("path", ["/admin", "/admin/", "/admin/workers", "/admin/cache/flush", "/ui", "/metrics"])
async def test_administration_page_and_metrics_are_opened_to_no_other_site(path: str):
    async with gateway(FakeVllm(), cors_origins="*") as client:
        for method in ("OPTIONS", "GET", "POST"):
            response = await client.request(method, path, content=b"{}", headers=ASKING | JSON)
            assert not told(response)
            assert method != "OPTIONS" or response.status_code in {404, 405}


async def test_programs_are_answered_as_without_and_a_page_is_not_asked_for_what_it_does_not_ask():
    async with gateway(FakeVllm(), cors_origins="*") as client:
        answer = await client.post("/rerank", content=BODY, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200
        assert not told(answer)
        assert "Vary" not in answer.headers
        assert (await client.options("/rerank", headers={"Origin": PAGE})).status_code == 405
