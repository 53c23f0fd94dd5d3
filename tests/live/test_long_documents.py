"""Long documents by passage over a real worker: they are ranked right where truncation can't, and all passages fit."""

from random import Random
from typing import Any

import httpx
import pytest

from tests.live.test_live import QUERY, UNICODE, WORDS, direct, same
from tests.running import gateway

BY_PASSAGE: dict[str, Any] = {"long_documents": "passages", "return_passages": True, "use_activation": False}


def document(held: int, seed: int, tokens: int = 1500) -> str:
    """Sentences without the query's words, but for one, beyond the model's 512 tokens, that has so many of them."""
    chance = Random(seed)
    others = [word for word in WORDS if word not in QUERY]
    sentences = [" ".join(chance.choices(others, k=12)).capitalize() + "." for _ in range(tokens // 13)]
    told = [*chance.choices(others, k=8), *QUERY.split()[:held]]
    chance.shuffle(told)
    sentences.insert(chance.randint(45, len(sentences)), " ".join(told).capitalize() + ".")
    return " ".join(sentences)


async def best_passages(client: httpx.AsyncClient, texts: list[str]) -> tuple[list[float], list[str]]:
    """The score of each document, and the passage that has it."""
    response = await client.post("/rerank", json={"query": QUERY, "documents": texts} | BY_PASSAGE)
    assert response.status_code == 200, response.text
    rows = sorted(response.json()["results"], key=lambda row: row["index"])
    passages = [texts[row["index"]][row["passage"]["start"] : row["passage"]["end"]] for row in rows]
    return [row["relevance_score"] for row in rows], passages


async def test_passages_rank_right_where_truncation_cannot(workers: tuple[str, str]):
    held = [0, 6, 2, 4, 0, 3, 5, 1]
    texts = [document(number, seed) for seed, number in enumerate(held)]
    async with gateway(workers=workers) as client:
        scores, passages = await best_passages(client, texts)
        truncated = await client.post("/rerank", json={"query": QUERY, "documents": texts})
    # Without a limit the worker refuses what is too long: all of these fit.
    assert scores == same(await direct(workers[0], QUERY, passages, use_activation=False))
    by_score = sorted(range(len(texts)), key=scores.__getitem__, reverse=True)
    assert [held[index] for index in by_score][:4] == [6, 5, 4, 3]
    assert all(len(set(QUERY.split()) & set(passages[index].lower().split())) >= 3 for index in by_score[:4])
    blind = [held[row["index"]] for row in truncated.json()["results"]]
    assert blind[:4] != [6, 5, 4, 3]


@pytest.mark.parametrize("text", UNICODE[3:], ids=ascii)
async def test_passages_of_every_script_fit_as_the_worker_counts(workers: tuple[str, str], text: str):
    texts = [f"{text} " * (8000 // len(text)), text * (8000 // len(text))]
    async with gateway(workers=workers) as client:
        scores, passages = await best_passages(client, texts)
    assert scores == same(await direct(workers[0], QUERY, passages, use_activation=False))
