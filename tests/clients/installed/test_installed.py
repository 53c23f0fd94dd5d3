"""Clients that are installed and run: each returns the model's ranking, and shows errors as docs/clients.md says."""

import asyncio
import json
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest

from tests.clients.background import process_in_background
from tests.clients.catalog import INSTALLED, MODEL, Installed
from tests.clients.environments import Environment
from tests.fake_vllm import Call, FakeVllm, answer_to, reply, score_of

# Those that try again pause up to 4 s each time, and three of them do so after any error.
pytestmark = pytest.mark.timeout(150)

KEY = "SECRET"
QUERY = "Was ist <Grünkohl> & wer isst ihn?"
TEXTS = [f"Text {number} über Kohl" for number in range(40)]
FEW = TEXTS[:5]
CLIENTS = [(environment, client) for environment, clients in INSTALLED.items() for client in clients]


class OnceBusy:
    """A worker's fault: the first call of each query that says "busy" is answered with 503."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    async def __call__(self, call: Call, writer: asyncio.StreamWriter) -> None:
        query = call.queries[0]
        is_first = query.startswith("busy") and query not in self._seen
        self._seen.add(query)
        if is_first:
            reply(writer, 503, {"error": {"message": "out of order", "type": "Error", "param": None, "code": 503}})
        else:
            reply(writer, 200, answer_to(call))


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    with _gateway(API_KEYS=f"client:{KEY}") as url:
        yield url


@pytest.fixture(scope="session")
def open_url() -> Iterator[str]:
    """Where no key is needed."""
    with _gateway() as url:
        yield url


def _gateway(**settings: str) -> Any:
    models = {MODEL: {"aliases": [f"fireworks/{MODEL}"]}}
    worker = FakeVllm(model=MODEL, always=OnceBusy())
    return process_in_background(worker, MODELS=json.dumps(models), MAX_ATTEMPTS="1", CACHE="off", **settings)


@pytest.mark.parametrize(("environment", "client"), CLIENTS, ids=[client.name for _, client in CLIENTS])
def test_it_ranks_as_the_model_does(environment: Environment, client: Installed, request: pytest.FixtureRequest):
    if not environment.is_made:
        missing = f"{environment.name} isn't installed: tests/clients/run.sh does that"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    url = request.getfixturevalue("url" if client.sends_key else "open_url")
    _until_it_ranks(url)
    asked = [_asked(url + path) for path in (client.path, *client.also)]
    wrong = [_asked(url + client.path, key="wrong", texts=FEW)] if client.sends_key else []
    busy = _asked(url + client.path, query=f"busy {client.name}", texts=FEW)

    answers = environment.ask(client.program, [*asked, *wrong, busy])
    for one, answer in zip(asked, answers, strict=False):
        _check_ranking(client, answer, one)
    if client.sends_key:
        _check_error(client, answers[-2])
    if client.tries_again:
        _check_ranking(client, answers[-1], busy)
    else:
        assert "error" in answers[-1], answers[-1]


def _asked(url: str, *, key: str = KEY, query: str = QUERY, texts: Sequence[str] = TEXTS) -> dict[str, Any]:
    return {"url": url, "key": key, "model": MODEL, "query": query, "texts": texts}


def _check_ranking(client: Installed, answer: dict[str, Any], asked: dict[str, Any]) -> None:
    assert "ranking" in answer, (asked["url"], answer)
    scores = {index: score_of(asked["query"], text) for index, text in enumerate(asked["texts"])}
    best = sorted(scores, key=lambda index: -scores[index])
    if client.stretches:
        least, most = min(scores.values()), max(scores.values())
        scores = {index: (score - least) / (most - least) for index, score in scores.items()}
    assert [index for index, _ in answer["ranking"]] == best, asked["url"]
    assert [score for _, score in answer["ranking"]] == pytest.approx([scores[index] for index in best], abs=1e-9)


def _check_error(client: Installed, answer: dict[str, Any]) -> None:
    assert "error" in answer, answer
    assert ("silently unranked" in answer["error"]) == (client.shown == "nothing"), answer
    assert ("API key" in answer["error"]) == (client.shown == "its words"), answer


def _until_it_ranks(url: str) -> None:
    """Wait until the worker that was busy for the client before is in use again."""
    body = {"query": "ready", "documents": FEW}
    until = time.monotonic() + 20
    while (
        httpx.post(f"{url}/rerank", json=body, headers={"Authorization": f"Bearer {KEY}"}).status_code != httpx.codes.OK
    ):
        assert time.monotonic() < until
        time.sleep(0.05)
