"""One line per request: its level, what it says, and what it never says. And why a worker can't be used."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from random import Random
from tempfile import TemporaryFile
from typing import IO, Any, Literal

import httpx
import pytest
import structlog
from starlette.types import ASGIApp

from app.errors import Unreachable
from app.telemetry import log
from app.types import Answer
from tests.odd import MARK, Odd, odd_request, received
from tests.virtual import ScoreCall, ScriptedLink, application, on_virtual_clock

DOCUMENTS = [f"document {number}" for number in range(8)]
# Everything takes longer.
NOTHING_S = 1e-9
Style = Literal["json", "console"]
USUAL = {
    "event",
    "level",
    "timestamp",
    "request_id",
    "route",
    "dialect",
    "key",
    "model",
    "documents",
    "cache_hits",
    "coalesced",
    "chunks",
    "attempts",
    "status",
    "ms",
}
SPENT = {"body_s", "no_worker_s", "cache_s", "workers_s", "queue_s"}


class Logged:
    """What is logged to a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._text = ""

    def getvalue(self) -> str:
        if not self._file.closed:
            log.flush()
            self._text = os.pread(self._file.fileno(), 2**26, 0).decode()
        return self._text


@contextmanager
def logged(*, style: Style = "json", level: str = "info") -> Iterator[Logged]:
    """What is logged until the end of the block."""
    with TemporaryFile() as file:
        log.configure(style=style, level=level, fd=file.fileno())
        out = Logged(file)
        try:
            yield out
        finally:
            out.getvalue()
            log.configure(style="json", level="error")


def about_requests(out: Logged) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    return [line for line in lines if line["event"] in {"request", "slow_request", "bug"}]


async def post(app: ASGIApp, **more: Any) -> int:
    body = {"query": "q", "documents": DOCUMENTS} | more
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        return (await client.post("/v1/rerank", json=body, headers={"X-Request-Id": "abc-1"})).status_code


async def _fails(_: ScoreCall) -> Answer:
    raise RuntimeError("this is not one of the ways a link may fail")


@on_virtual_clock
async def test_a_usual_request_is_one_line_at_info():
    with logged() as out:
        async with application([ScriptedLink("w")]) as app:
            assert await post(app) == 200
    (line,) = about_requests(out)
    assert (line["event"], line["level"], line["status"]) == ("request", "info", 200)
    assert line.keys() == USUAL


@on_virtual_clock
async def test_a_slow_request_is_one_warning_that_says_where_the_time_went():
    with logged() as out:
        link = ScriptedLink("w", takes_s=1)
        settings: dict[str, Any] = {"slow_request_s": NOTHING_S, "worker_max_calls": 1, "max_batch": 4, "min_batch": 1}
        async with application([link], **settings) as app:
            assert await post(app) == 200
            assert await post(app) == 200
    first, second = about_requests(out)
    assert first.keys() == second.keys() == USUAL | SPENT
    assert first["level"] == second["level"] == "warning"
    assert first["event"] == second["event"] == "slow_request"
    expected = {"queue_s": 1, "chunks": 2, "attempts": 2, "cache_hits": 0, "documents": 8, "model": "m"}
    assert expected.items() <= first.items()
    assert 0 <= first["workers_s"] < first["ms"] / 1000 + 0.001
    known = {"queue_s": 0, "chunks": 0, "attempts": 0, "cache_hits": 8, "workers_s": 0}
    assert (known | {"key": "anonymous", "request_id": "abc-1"}).items() <= second.items()


async def slow_line(link: ScriptedLink, **settings: Any) -> dict[str, Any]:
    """The line of a request that fails slowly."""
    with logged() as out:
        async with application([link], slow_request_s=NOTHING_S, **settings) as app:
            assert await post(app) >= 500
    (line,) = about_requests(out)
    assert line["event"] == "slow_request"
    return line


@on_virtual_clock
async def test_a_request_for_which_no_worker_came_says_how_long_none_was_usable():
    line = await slow_line(ScriptedLink("w", problem=Unreachable("w refused the connection")), no_worker_wait_s=3)
    assert {"no_worker_s": 3, "queue_s": 0, "workers_s": 0, "status": 503}.items() <= line.items()


@on_virtual_clock
async def test_a_request_that_never_got_a_slot_says_how_long_it_was_queued():
    with logged() as out:
        link = ScriptedLink("w", takes_s=20)
        settings: dict[str, Any] = {"worker_max_calls": 1, "max_queue_wait_s": 100, "cache": False}
        async with application([link], slow_request_s=NOTHING_S, **settings) as app:
            first = asyncio.create_task(post(app))
            await asyncio.sleep(1)
            assert await post(app, timeout_ms=4000) >= 400
            assert await first == 200
    queued, _ = about_requests(out)
    assert queued["event"] == "slow_request"
    assert {"no_worker_s": 0, "queue_s": 4, "attempts": 0}.items() <= queued.items()
    assert "workers_s" in queued


async def test_a_request_that_failed_on_workers_says_how_long_they_had_it():
    line = await slow_line(ScriptedLink("w", takes_s=60), deadline_s=0.3, no_worker_wait_s=0.1)
    assert {"no_worker_s": 0, "status": 504}.items() <= line.items()
    assert 0.2 < line["workers_s"] < line["ms"] / 1000 + 0.001


@on_virtual_clock
async def test_a_request_whose_body_came_slowly_says_so():
    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    with logged() as out:
        async with (
            application([ScriptedLink("w")], slow_request_s=NOTHING_S, body_timeout_s=2) as app,
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client,
        ):
            assert (await client.post("/rerank", content=body())).status_code == 408
    (line,) = about_requests(out)
    assert (line["event"], line["body_s"], line["workers_s"]) == ("slow_request", 2, 0)


@on_virtual_clock
async def test_a_request_that_ends_in_a_5xx_is_a_warning_with_its_error_and_a_4xx_is_not():
    with logged() as out:
        link = ScriptedLink("w", problem=Unreachable("w refused the connection"))
        async with application([link], no_worker_wait_s=0) as app:
            assert await post(app) == 503
            assert await post(app, documents=[]) == 400
    failed, refused = about_requests(out)
    assert (failed["event"], failed["level"], failed["status"]) == ("request", "warning", 503)
    assert "w refused the connection" in failed["error"]
    assert (refused["event"], refused["level"], refused["status"]) == ("request", "info", 400)
    assert "documents is empty" in refused["error"]
    assert failed.keys() == refused.keys() == USUAL | {"error"}


@on_virtual_clock
async def test_a_bug_is_one_line_with_its_trace_however_slow_it_was():
    for slow_s, spent in ((100.0, set()), (NOTHING_S, SPENT)):
        with logged() as out:
            async with application([ScriptedLink("w", always=_fails)], slow_request_s=slow_s) as app:
                assert await post(app) == 500
        (line,) = about_requests(out)
        assert (line["event"], line["level"], line["status"]) == ("bug", "error", 500)
        assert line.keys() == USUAL | spent | {"error", "exception"}
        assert "RuntimeError: this is not one" in line["exception"]


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_value_is_so_odd_that_its_line_fails(style: Style):
    with logged(style=style) as out:
        structlog.get_logger().info("odd", number=2**64, half="\ud800", thing=object(), no_number=float("nan"))
    assert out.getvalue().count("odd") == 1
    assert out.getvalue().count(r"\ud800") == 1


KEPT = {"debug": 3, "info": 3, "warning": 2, "error": 1}


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("level", KEPT)
@on_virtual_clock
async def test_the_level_leaves_out_what_is_below_it(level: str, style: Style):
    with logged(style=style, level=level) as out:
        link = ScriptedLink("w")
        async with application([link], no_worker_wait_s=0, cache=False) as app:
            assert await post(app) == 200
            link.always = _fails
            assert await post(app) == 500
            link.always = Unreachable("w")
            assert await post(app) == 503
    lines = [line for line in out.getvalue().splitlines() if "abc-1" in line]
    assert len(lines) == KEPT[level]


@pytest.mark.parametrize("style", ["json", "console"])
@on_virtual_clock
async def test_no_line_has_a_text_or_a_secret_in_it_whatever_was_asked(style: Style):
    rng = Random(5)
    with logged(style=style, level="debug") as out:
        link = ScriptedLink("w", per_document_s=0.001)
        async with application([link], api_keys="milvus:hush,b:hush-2", slow_request_s=NOTHING_S) as app:
            # The id and the model a client asks for are logged; nothing else that its body and its path say.
            odd = (odd_request(rng) for _ in range(400))
            asked = [one for one in odd if b'"model"' not in one.body and "/models/" not in one.path]
            answers = await asyncio.gather(*[received(app, _with_body_and_key(one)) for one in asked])
    assert {answer.status for answer in answers} >= {200, 400, 401}
    assert out.getvalue().count("slow_request") > 200
    assert "hush" not in out.getvalue()
    assert MARK not in out.getvalue().lower()


def _with_body_and_key(one: Odd) -> Odd:
    keys = [(name, value) for name, value in one.headers if name == b"authorization"]
    return one._replace(query=b"", headers=keys)


@on_virtual_clock
async def test_the_log_says_once_why_a_new_worker_cannot_be_used():
    problem = Unreachable("w refused the connection")
    with logged() as out:
        async with application([ScriptedLink("w", problem=problem)]):
            await asyncio.sleep(60)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    told = [(line["usable"], line["reason"]) for line in lines if line["event"] == "worker_changed"]
    assert told == [(False, problem.message)]
