"""Clients that can't be installed: the bytes they send get an answer in which they find the model's ranking."""

import base64
import json
from collections.abc import AsyncIterator
from functools import reduce
from typing import Any

import httpx
import pytest

from tests.clients.catalog import ELSEWHERE, FIXED, INSTALLED, MODEL, RECORDED, RECORDINGS, Recorded
from tests.clients.go_http import Exchange, send
from tests.documents import ROOT
from tests.fake_vllm import FakeVllm, score_of
from tests.running import gateway

KEY = "SECRET"
ALIASES = [recording.model for recording in RECORDINGS if recording.model]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    models = {MODEL: {"aliases": ALIASES}}
    async with gateway(FakeVllm(model=MODEL), api_keys={"client": KEY}, models=models) as client:
        yield client


@pytest.mark.parametrize("recording", RECORDINGS, ids=str)
async def test_what_a_client_sends_is_ranked_as_the_model_does(client: httpx.AsyncClient, recording: Recorded):
    if recording.first:
        assert (await client.get(recording.path + recording.first, headers=_bearer(KEY))).status_code == httpx.codes.OK
    exchange = await _replay(client, recording, KEY)
    assert exchange.code == httpx.codes.OK, exchange.body
    answer = json.loads(exchange.body)
    assert all(isinstance(_at(answer, path), int) for path in recording.reads)

    query, texts = _asked(exchange)
    scores = [score_of(query, text) for text in texts]
    best = sorted(range(len(texts)), key=lambda index: -scores[index])
    rows = _at(answer, recording.rows)
    places = [row[recording.index] for row in rows] if recording.index else [*range(len(rows))]
    assert places == (best if recording.index else sorted(best))
    assert [row[recording.score] for row in rows] == [scores[place] for place in places]
    assert not recording.text or [_at(row, recording.text) for row in rows] == [texts[place] for place in places]
    assert not recording.only or all(row.keys() <= set(recording.only) for row in rows)


@pytest.mark.parametrize("recording", RECORDINGS, ids=str)
async def test_a_client_finds_the_text_of_an_error_where_it_looks(client: httpx.AsyncClient, recording: Recorded):
    exchange = await _replay(client, recording, "wrong")
    assert exchange.code == httpx.codes.UNAUTHORIZED
    shown = _at(json.loads(exchange.body), recording.error)
    assert "API key" in (shown if recording.error else json.dumps(shown))


def test_every_recording_is_replayed():
    assert {path.stem for path in RECORDED.glob("*.http")} == {recording.file for recording in RECORDINGS}


def test_every_client_has_a_name_of_its_own():
    rows = [client for clients in INSTALLED.values() for client in clients] + [*RECORDINGS, *ELSEWHERE, *FIXED]
    assert len({row.name for row in rows}) == len(rows)


def test_what_is_held_elsewhere_is_held():
    assert all((ROOT / row.test).exists() for row in ELSEWHERE)


async def _replay(client: httpx.AsyncClient, recording: Recorded, key: str) -> Exchange:
    head, _, body = (RECORDED / f"{recording.file}.http").read_text().partition("\n\n")
    url = str(client.base_url).rstrip("/")
    basic = base64.b64encode(f"any:{key}".encode()).decode()
    filled = head.format(host=url.partition("//")[2], key=key, basic=basic).replace("\n", "\r\n")
    return await send(url, f"{filled}\r\n\r\n{body}".encode())


def _asked(exchange: Exchange) -> tuple[str, list[str]]:
    """The query and the texts, whatever the request calls and wraps them in."""
    body = json.loads(exchange.sent.partition(b"\r\n\r\n")[2])
    texts = next(body[name] for name in ("documents", "texts", "passages") if name in body)
    return _plain(body["query"]), [_plain(text) for text in texts]


def _plain(text: Any) -> str:
    plain: str = text["text"] if isinstance(text, dict) else text
    return plain


def _at(answer: Any, path: str) -> Any:
    return reduce(lambda value, name: value[name], path.split("."), answer) if path else answer


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
