"""What is written to the log on behalf of strangers can't forge a line, drive a terminal or fill a disk."""

import json
from typing import Literal

import httpx
import pytest
from structlog import get_logger

from tests.fake_vllm import FakeVllm, status
from tests.running import gateway, rerank
from tests.security.raw import BODY, POST, heard
from tests.telemetry.test_log import Logged, logged

FORGED = '\x1b[2J\r\n{"event":"forged"}\nforged \x9b31m\u202e\u2028\x7f\x00'
MOVES = set("\x1b\r\x9b\u202e\u2028\x7f\x00")
Style = Literal["json", "console"]
STYLES = pytest.mark.parametrize("style", ["json", "console"])


def assert_nothing_forged(out: Logged, style: Style) -> None:
    """No line begins within another, and nothing in one tells a terminal something."""
    text = out.getvalue()
    assert "forged" in text
    assert not set(text) & MOVES
    for line in text.splitlines():
        assert not line.startswith(('{"event":"forged"}', "forged"))
        if style == "json":
            assert json.loads(line)["event"] != "forged"


@STYLES
async def test_a_model_a_client_asks_for_forges_no_line(style: Style):
    with logged(style=style) as out:
        async with gateway(FakeVllm()) as client:
            assert (await rerank(client, ["a"], model=FORGED)).status_code == 404
            assert (await client.post("/rerank", params={"model": FORGED}, content=BODY)).status_code == 404
    assert_nothing_forged(out, style)


@STYLES
async def test_what_a_worker_says_forges_no_line(style: Style):
    with logged(style=style) as out:
        async with gateway(FakeVllm(always=status(401, FORGED), fails_probes=True), fallback="lexical") as client:
            assert (await client.get("/readyz")).status_code == 200
            assert (await rerank(client, ["a"])).status_code == 200
    assert_nothing_forged(out, style)


@STYLES
async def test_a_name_that_a_worker_gives_its_model_is_shown_and_logged_as_text(style: Style):
    name = f"<script>{FORGED}"
    with logged(style=style) as out:
        async with gateway(FakeVllm(model=name)) as client:
            listed = await client.get("/v1/models")
            ranked = await rerank(client, ["a"])
            metrics = await client.get("/metrics")
    assert listed.headers["Content-Type"] == "application/json"
    assert listed.json()["data"][0]["id"] == ranked.json()["model"] == name
    assert "forged" not in metrics.text
    assert_nothing_forged(out, style)


@STYLES
def test_a_trace_keeps_its_lines_and_nothing_else(style: Style):
    with logged(style=style) as out:
        get_logger().error("bug", exc_info=RuntimeError(FORGED))
    assert not set(out.getvalue()) & MOVES
    if style == "console":
        assert "\nRuntimeError" in out.getvalue()


async def test_paths_request_ids_and_malformed_requests_leave_no_text_of_theirs():
    with logged(level="debug") as out:
        async with gateway(FakeVllm()) as client:
            await client.post("/rerank/%0a%1b[31mforged", content=BODY)
            await heard(client, b"GET /forged\x1b HTTP/1.1\r\nX: \x00forged\r\n\r\n")
            await heard(client, POST + b"X-Request-Id: forged\x9b31m\r\nContent-Length: 35\r\n\r\n" + BODY)
    assert out.getvalue().count('"event":"request"') == 1
    assert "forged" not in out.getvalue()


async def test_a_line_is_short_however_long_what_a_client_sends_is():
    with logged() as out:
        async with gateway(FakeVllm()) as client:
            long = "x" * 1_000_000
            for path, body in (
                ("/rerank", {"query": "q", "documents": ["a"], "model": long}),
                ("/rerank", {"query": "q", "documents": [{"a": "b"}], "rank_fields": [long]}),
                ("/rerank", {"query": "q", "documents": ["a"], "truncation_side": long}),
                ("/rerank", {"query": "q", "documents": ["a"], "top_n": long}),
                ("/score", {"text_1": long + "x", "text_2": "a"}),
            ):
                response: httpx.Response = await client.post(path, json=body)
                assert response.status_code in {400, 404}
                assert len(response.content) < 2000
    assert max(len(line) for line in out.getvalue().splitlines()) < 2000
