"""Requests in every dialect, and what the fake worker's scores make of them."""

from typing import Any

import httpx

from tests.fake_vllm import score_of

DOCUMENTS = ["alpha one", "beta two", "gamma three", "delta four", "epsilon five"]
OBJECT = {"title": "x"}
OBJECTS = [{"title": "alpha", "text": "one", "stars": 3}, {"title": "beta", "text": "two", "stars": None}]
BEST = sorted(range(5), key=lambda index: -score_of("q", DOCUMENTS[index]))
TOKENS = 5 * 3
ID = {"X-Request-Id": "id-1"}


async def ask(client: httpx.AsyncClient, path: str, **body: Any) -> httpx.Response:
    return await client.post(path, json=body, headers=ID)


async def answer_of(client: httpx.AsyncClient, path: str, **body: Any) -> Any:
    response = await ask(client, path, **body)
    assert response.status_code == 200, response.text
    return response.json()


def ranked(score: str, **more: list[Any]) -> list[dict[str, Any]]:
    """The five documents, best first; `more` is what else a row has, by document."""
    return [
        {"index": index, score: score_of("q", DOCUMENTS[index])}
        | {name: column[index] for name, column in more.items()}
        for index in BEST
    ]


def results(rows: list[dict[str, Any]], version: str = "1", tokens: int = TOKENS) -> dict[str, Any]:
    return {
        "id": "rerank-id-1",
        "model": "tiny-reranker",
        "usage": usage(tokens),
        "results": rows,
        "meta": {
            "api_version": {"version": version},
            "billed_units": {"search_units": 1},
            "score_scale": "probability",
        },
    }


def usage(tokens: int = TOKENS) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
