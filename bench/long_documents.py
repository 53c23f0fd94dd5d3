"""What passages are worth: `python -m bench.long_documents`, over a real worker, in three minutes.

Documents of 330 to 460 tokens, whose relevant sentence stands behind token 140, are ranked by one model three times:
served with 128 tokens, truncated and by passage; and served with the 512 it was trained for, which sees all of them.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import log2
from pathlib import Path
from random import Random
from secrets import token_hex
from tempfile import TemporaryDirectory
from time import perf_counter

import orjson
import typer

from bench.connection import Connection, connected, get, post
from bench.gateways import gateway
from bench.processes import ALL_CORES
from tests.live.worker import MODEL, OwnWorker

_SEED = 20
_QUERIES = 40
_QUERY_WORDS = 6
_SHORT, _WHOLE = 128, 512
# Tokens before the relevant sentence begins.
_BEYOND = 140
# How many of the query's words a sentence of each document has, for the 30 documents of a query; 4 are relevant.
_HELD = (6, 6, 5, 5, 4, 4, *(2,) * 8, *(1,) * 8, *(0,) * 8)
_LEAST_RELEVANT = 4
_TOP = 10
_SCORED = ("worker", "memory", "coalesced", "duplicate")


@dataclass(frozen=True, slots=True)
class Search:
    """A query, its documents, and how relevant each is: 0 to 3."""

    query: str
    documents: Sequence[str]
    grades: Sequence[int]


@dataclass(frozen=True, slots=True)
class Quality:
    """How well searches were ranked, what was scored for that, and how long it took."""

    ndcg: float
    recall: float
    pairs_per_document: float
    seconds: float


def searches(seed: int = _SEED, count: int = _QUERIES, *, is_scattered: bool = False) -> Iterator[Search]:
    """Searches whose relevant sentences all lie beyond the short model's length.

    Where they are scattered, what answers a query stands half in one sentence, half in another far from it.
    """
    vocabulary = json.loads((MODEL / "tokenizer.json").read_text())["model"]["vocab"]
    words = sorted(word for word in vocabulary if word.isascii() and word.isalpha())
    chance = Random(seed)
    for _ in range(count):
        asked = chance.sample(words, _QUERY_WORDS)
        others = [word for word in words if word not in asked]
        held = chance.sample(_HELD, len(_HELD))
        documents = [_document(chance, asked, others, number, is_scattered=is_scattered) for number in held]
        grades = [max(0, number - _LEAST_RELEVANT + 1) for number in held]
        yield Search(" ".join(asked), documents, grades)


def _document(chance: Random, asked: Sequence[str], others: Sequence[str], held: int, *, is_scattered: bool) -> str:
    """A document of sentences; one of them, beyond the short model, has so many of the query's words.

    Its first sentence has up to two of them, relevant or not: what a truncated text is ranked by is chance.
    """
    told = chance.sample(asked, held)
    lead = chance.sample(told, min(len(told), chance.randint(0, 2)))
    sentences = [_sentence(chance, others, lead)]
    length, wanted = chance.randint(330, 450), chance.randint(_BEYOND, 300)
    due = [(wanted, told)]
    if is_scattered:
        due = [(_BEYOND, told[::2]), (_BEYOND + 150, told[1::2])]
    while _tokens(sentences) < length:
        if due and _tokens(sentences) >= due[0][0]:
            sentences.append(_sentence(chance, others, due.pop(0)[1]))
        sentences.append(_sentence(chance, others, []))
    return " ".join(sentences)


def _sentence(chance: Random, others: Sequence[str], told: Sequence[str]) -> str:
    words = [*told, *chance.choices(others, k=chance.randint(6, 12))]
    chance.shuffle(words)
    return " ".join(words).capitalize() + "."


def _tokens(sentences: Sequence[str]) -> int:
    """Each word is one, and so is the full stop."""
    return sum(sentence.count(" ") + 2 for sentence in sentences)


def ndcg(grades: Sequence[int], ranked: Sequence[int]) -> float:
    """The discounted gain of the first ten of a ranking, as a share of the best one's (Järvelin, Kekäläinen 2002)."""
    best = sorted(range(len(grades)), key=grades.__getitem__, reverse=True)
    return _gain(grades, ranked) / _gain(grades, best)


def _gain(grades: Sequence[int], ranked: Sequence[int]) -> float:
    return sum((2.0 ** grades[index] - 1) / log2(place + 2) for place, index in enumerate(ranked[:_TOP]))


def recall(grades: Sequence[int], ranked: Sequence[int]) -> float:
    """The share of the relevant documents that stand among the first ten."""
    return sum(grades[index] > 0 for index in ranked[:_TOP]) / sum(grade > 0 for grade in grades)


async def measure(venv: Path) -> dict[str, Quality]:
    """The quality of each way to rank the searches."""
    found: dict[str, Quality] = {}
    ways = {_SHORT: ("truncate", "passages"), _WHOLE: ("truncate",)}
    for length, treatments in ways.items():
        async with _worker(venv, length) as worker:
            for treatment in treatments:
                name = "sees it all" if length == _WHOLE else treatment
                for is_scattered in (False, True):
                    async with _asked(worker, treatment) as client:
                        found[f"{name}, scattered" if is_scattered else name] = await _quality(
                            client, is_scattered=is_scattered
                        )
    return found


@asynccontextmanager
async def _worker(venv: Path, length: int) -> AsyncIterator[OwnWorker]:
    with TemporaryDirectory() as directory:
        flags = ("--max-model-len", str(length))
        worker = OwnWorker(venv, api_key=token_hex(), log=Path(directory) / "log", flags=flags)
        try:
            await worker.start()
            yield worker
        finally:
            worker.kill()


@asynccontextmanager
async def _asked(worker: OwnWorker, treatment: str) -> AsyncIterator[Connection]:
    """A connection to a gateway over the worker, which treats long documents so."""
    settings = {"RERANK_WORKER_API_KEY": worker.api_key, "RERANK_LONG_DOCUMENTS": treatment}
    async with gateway([worker.url], cores=ALL_CORES, **settings) as ours, connected(ours.url) as client:
        yield client


async def _quality(client: Connection, *, is_scattered: bool) -> Quality:
    gains, recalls, documents, began = [], [], 0, perf_counter()
    for search in searches(is_scattered=is_scattered):
        body = orjson.dumps({"query": search.query, "documents": search.documents})
        ranked = [row["index"] for row in orjson.loads(await client.ask(post(body, "/rerank", {})))["results"]]
        gains.append(ndcg(search.grades, ranked))
        recalls.append(recall(search.grades, ranked))
        documents += len(search.documents)
    seconds = perf_counter() - began
    lines = (await client.ask(get("/metrics"))).decode().splitlines()
    scored = sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("rerank_documents_total{") and any(f'source="{source}"' in line for source in _SCORED)
    )
    return Quality(sum(gains) / len(gains), sum(recalls) / len(recalls), scored / documents, seconds)


def _main(venv: str = os.environ.get("TEST_VLLM_VENV", ".vllm/venv")) -> None:
    """Measure, and print the table of docs/long-documents.md."""
    found = asyncio.run(measure(Path(venv).resolve()))
    print("| | nDCG@10 | recall@10 | of the model that sees it all | pairs per document | s |")
    print("|---|---|---|---|---|---|")
    for name, one in found.items():
        whole = found["sees it all, scattered" if "scattered" in name else "sees it all"]
        share = f"{100 * one.ndcg / whole.ndcg:.0f} %, {100 * one.recall / whole.recall:.0f} %"
        print(
            f"| {name} | {one.ndcg:.3f} | {one.recall:.3f} | {share} | {one.pairs_per_document:.2f} "
            f"| {one.seconds:.0f} |"
        )


if __name__ == "__main__":
    typer.run(_main)
