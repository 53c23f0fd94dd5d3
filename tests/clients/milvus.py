"""Milvus's proxy as a gateway meets it: what it sends, how it retries, and what it makes of the answer.

Read from `internal/util/function` of Milvus 2.6 and 3.0.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from random import Random
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from tests.clients.go_http import DefaultClient, Failed
from tests.clients.go_json import Shape, Text, Unmarshal, marshal, unmarshal

Version = Literal["2.6.0", "2.6", "3.0"]
# A hit of the vector search: its primary key, and the field that is reranked.
Hit = tuple[int, Text]

_TRIES = 3
_OK = 200
_TOO_MANY = 429
_SERVER_ERROR = 500


class MilvusError(Exception):
    """The search failed; the text is what its user reads."""


class ProxyDied(Exception):
    """A panic of the whole proxy process: every search of everybody fails."""


@dataclass(frozen=True)
class Provider:
    """What sets one provider apart.

    Args:
        path: What the endpoint's path is overwritten with; None where milvus.yaml has the URL, used as written.
        texts: What the documents are called.
        shape: The answer.
        rows: Where the answer has its results; "" when it is a bare list.
        score: What a result's score is called; "" when it is the result, and results come in the order of the texts.
        names_model: Whether the body says the model.
        max_batch: Texts per call when `max_client_batch_size` isn't set.
        headers: Beyond Content-Type; `{}` is the key.
        needs_key: Whether Milvus refuses to call without a key.
        by_index: Whether scores go to documents by index; by position otherwise.
    """

    path: str | None
    shape: Shape
    rows: str = "results"
    score: str = "relevance_score"
    texts: str = "documents"
    names_model: bool = True
    max_batch: int = 128
    headers: Mapping[str, str] = field(default_factory=lambda: {"Authorization": "Bearer {}"})
    needs_key: bool = True
    by_index: bool = False


_RESULT: Shape = {"index": "int", "relevance_score": "float32"}
_ROW: Shape = {"index": "int", "score": "float32"}
_USAGE: Shape = {"total_tokens": "int"}
PROVIDERS = {
    "vllm": Provider(
        path="/rerank",
        shape={"id": "string", "model": "string", "usage": _USAGE, "results": [_RESULT]},
        names_model=False,
        max_batch=32,
        needs_key=False,
    ),
    "tei": Provider(
        path="/rerank",
        shape=[_ROW],
        rows="",
        score="score",
        texts="texts",
        names_model=False,
        max_batch=32,
        needs_key=False,
    ),
    "cohere": Provider(
        path=None,
        shape={
            "id": "string",
            "results": [_RESULT],
            "meta": {
                "api_version": {"version": "string", "is_experimental": "bool"},
                "billed_units": {"search_units": "int"},
            },
        },
        headers={"accept": "application/json", "Authorization": "bearer {}"},
    ),
    "siliconflow": Provider(
        path=None,
        shape={
            "id": "string",
            "results": [_RESULT],
            "meta": {
                "billed_units": dict.fromkeys(
                    ("input_tokens", "output_tokens", "search_units", "classifications"), "int"
                ),
                "tokens": {"input_tokens": "int", "output_tokens": "int"},
            },
        },
    ),
    "voyageai": Provider(
        path=None, shape={"object": "string", "data": [_RESULT], "model": "string", "usage": _USAGE}, rows="data"
    ),
    "sglang": Provider(
        path="/v1/rerank",
        shape=[{"index": "*int", "score": "*float32"}],
        rows="",
        score="score",
        max_batch=32,
        needs_key=False,
        by_index=True,
    ),
    # Of 3.0.
    "ali": Provider(path=None, shape={"output": {"results": [_RESULT]}, "usage": _USAGE}, rows="output.results"),
    "huggingface": Provider(path=None, shape=["float32"], rows="", score=""),
}


@dataclass
class Milvus:
    """One proxy with one rerank function.

    Args:
        endpoint: The function's `endpoint`, or the provider's `url` in milvus.yaml.
        provider: The function's provider.
        version: 2.6.0 has a path of its own, 3.0 an order that can be foreseen.
        params: The function's other parameters, strings as in Milvus; unknown ones are ignored.
        api_key: The credential that milvus.yaml resolves; "" for none.
        pauses_s: Before the second and the third try; Milvus adds up to a quarter by chance.
        timeout_s: For one batch, its three tries and their pauses included.
        rng: For the order and the pauses.
    """

    endpoint: str
    provider: str = "vllm"
    version: Version = "3.0"
    params: Mapping[str, str] = field(default_factory=dict)
    api_key: str = ""
    pauses_s: tuple[float, float] = (1.0, 2.0)
    timeout_s: float = 30.0
    rng: Random = field(default_factory=lambda: Random(7))
    http: DefaultClient = field(default_factory=DefaultClient)

    @property
    def url(self) -> str:
        """Where calls go: the endpoint's path is lost, its query string is kept."""
        path = PROVIDERS[self.provider].path
        if self.provider == "huggingface":
            return f"{self.endpoint}/hf-inference/models/{self.params['model_name']}/pipeline/sentence-similarity"
        if path is None:
            return self.endpoint
        if self.version == "2.6.0" and self.provider == "vllm":
            path = "/v2/rerank"
        return urlsplit(self.endpoint)._replace(path=path, fragment="").geturl()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    async def search(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[dict[int, float]]:
        """Per query, the score of each hit by primary key.

        Raises:
            MilvusError: the search failed.
            ProxyDied: so did the proxy.
        """
        if len(queries) != len(hits):
            raise MilvusError(f"nq must equal to queries size, but got nq [{len(hits)}], queries size [{len(queries)}]")
        return [await self._search_one(query, found) for query, found in zip(queries, hits, strict=True)]

    async def _search_one(self, query: str, found: Sequence[Hit]) -> dict[int, float]:
        unique: dict[int, Text] = {}
        for key, text in found:
            unique.setdefault(key, text)
        keys = list(unique)
        if self.version != "3.0":
            # 2.6 walks over a Go map.
            self.rng.shuffle(keys)
        size = int(self._param("max_client_batch_size") or PROVIDERS[self.provider].max_batch)
        scores: list[float] = []
        for start in range(0, len(keys), size):
            scores += await self._rerank(query, [unique[key] for key in keys[start : start + size]])
        return dict(zip(keys, scores, strict=True))

    async def _rerank(self, query: str, texts: list[Text]) -> list[float]:
        provider = PROVIDERS[self.provider]
        try:
            async with asyncio.timeout(self.timeout_s):
                answer = await self._send(marshal(self._body(query, texts)))
        except TimeoutError:
            raise MilvusError("context deadline exceeded") from None
        try:
            decoded = unmarshal(answer, provider.shape)
        except Unmarshal as exc:
            raise MilvusError(f"call service failed, unmarshal response failed, errs:[{exc}]") from exc
        rows = reduce(lambda value, name: value[name], filter(None, provider.rows.split(".")), decoded)
        results = [(row["index"], row[provider.score]) if provider.score else (at, row) for at, row in enumerate(rows)]
        return _by_index(results, len(texts)) if provider.by_index else _by_position(results, len(texts))

    def _body(self, query: str, texts: list[Text]) -> dict[str, object]:
        if self.provider == "ali":
            return {"model": self.params["model_name"], "input": {"query": query, "documents": texts}}
        if self.provider == "huggingface":
            return {"inputs": {"source_sentence": query, "sentences": texts}}
        body: dict[str, Any] = {"query": query, PROVIDERS[self.provider].texts: texts}
        if PROVIDERS[self.provider].names_model:
            body["model"] = self.params["model_name"]
        if self.provider == "vllm" and (tokens := self._param("truncate_prompt_tokens")):
            body["truncate_prompt_tokens"] = int(tokens)
        if self.provider == "tei":
            body |= {"truncate": json.loads(truncate)} if (truncate := self._param("truncate")) else {}
            body |= {"truncation_direction": side} if (side := self._param("truncation_direction")) else {}
        return body

    def _param(self, name: str) -> str | None:
        return next((value for key, value in self.params.items() if key.lower() == name), None)

    def _headers(self) -> dict[str, str]:
        provider = PROVIDERS[self.provider]
        if not self.api_key and provider.needs_key:
            raise MilvusError("Missing credentials config or configure the environment variable in the Milvus service.")
        keyed = {name: value.format(self.api_key) for name, value in provider.headers.items()} if self.api_key else {}
        return {"Content-Type": "application/json"} | keyed

    async def _send(self, body: bytes) -> bytes:
        """The body of the first 200 among three tries; every other status is tried again."""
        headers = self._headers()
        for number in range(_TRIES):
            try:
                exchange = await self.http.post(self.url, headers, body)
                if exchange.code == _OK:
                    return exchange.body
                failure = f"call service failed, errs:[{exchange.status}, {exchange.body.decode(errors='replace')}]"
                if exchange.code == _TOO_MANY or exchange.code >= _SERVER_ERROR:
                    failure = "service unavailable: " + failure
            except Failed as exc:
                failure = f"service unavailable: call service failed, errs:[{exc}]"
            if number < _TRIES - 1:
                await asyncio.sleep(self.pauses_s[number] * self.rng.uniform(1, 1.25))
        raise MilvusError(failure)


def _by_position(results: list[tuple[int, float]], documents: int) -> list[float]:
    """What 2.6 and 3.0 do: sorted by index, then score i to document i."""
    scores = [0.0] * documents
    for position, (_, score) in enumerate(sorted(results, key=lambda result: result[0])):
        if position == documents:
            raise ProxyDied(f"runtime error: index out of range [{position}] with length {documents}")
        scores[position] = score
    return scores


def _by_index(results: list[tuple[int, float]], documents: int) -> list[float]:
    """What newer providers do: each index once, or an error."""
    if any(None in result for result in results):
        raise MilvusError("get rerank scores failed, the sglang service returned a result without index or score")
    by_index = dict(results)
    if len(results) != documents or by_index.keys() != set(range(documents)):
        raise MilvusError(f"get rerank scores failed, docs:[{documents}], scores:[{len(results)}]")
    return [by_index[index] for index in range(documents)]
