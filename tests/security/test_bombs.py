"""Bodies that are small to send and large to read: refused in no time, without the memory they are after."""

import asyncio
import gzip
import time
import tracemalloc

import httpx
import pytest

from tests.fake_vllm import FakeVllm
from tests.following import until
from tests.running import gateway
from tests.security.raw import BODY

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 2**20
JSON = {"Content-Type": "application/json"}


def filled(before: bytes, filling: bytes, after: bytes) -> bytes:
    """A body of a quarter MiB."""
    return before + filling * ((MIB // 4 - len(before) - len(after)) // len(filling)) + after


BOMBS = {
    "lists in lists": filled(b"", b"[", b""),
    "objects in objects": filled(b"", b'{"a":', b""),
    "lists in a field": filled(b'{"query":"q","documents":', b"[", b""),
    "an integer": filled(b'{"query":"q","documents":["a"],"top_n":', b"9", b"}"),
    "a negative integer": filled(b'{"query":"q","documents":["a"],"top_k":-', b"9", b"}"),
    "numbers as documents": filled(b'{"query":"q","documents":[', b"0,", b"0]}"),
    "objects as documents": filled(b'{"query":"q","documents":[', b"{},", b"{}]}"),
    "numbers as texts": filled(b'{"query":"q","texts":[', b"0,", b"0]}"),
    "numbers as rank_fields": filled(b'{"query":"q","documents":["a"],"rank_fields":[', b"0,", b"0]}"),
    "numbers as Cohere's documents": filled(b'{"query":"q","rank_fields":["a"],"documents":[', b"0,", b"0]}"),
    "objects as Cohere's documents": filled(b'{"query":"q","rank_fields":["a"],"documents":[', b"{},", b"{}]}"),
    "empty documents": filled(b'{"query":"q","documents":[', b'"",', b'""]}'),
    "an exponent": b'{"query":"q","documents":["a"],"top_n":1e999}',
    "NaN": b'{"query":"q","documents":["a"],"other":NaN}',
    "Infinity": b'{"query":"q","documents":["a"],"other":-Infinity}',
    "half of a surrogate pair": rb'{"query":"q","documents":["\ud800"]}',
}


async def costs_of(client: httpx.AsyncClient, content: bytes, path: str = "/rerank") -> tuple[int, float, int]:
    """The status of the answer, and the CPU seconds and bytes it took."""
    began = time.process_time()
    tracemalloc.start()
    try:
        response = await client.post(path, content=content, headers=JSON)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return response.status_code, time.process_time() - began, most_bytes


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS)
async def test_a_body_that_is_a_bomb_is_refused_at_once_in_bounded_memory(body: bytes, client: httpx.AsyncClient):
    status, seconds, most_bytes = await costs_of(client, body)
    assert status == 400
    assert seconds < 3
    assert most_bytes < 32 * MIB


@pytest.mark.parametrize("opening", [b"{},", b"[],", b"[{},"], ids=["objects", "lists", "both"])
async def test_more_than_a_million_brackets_are_refused_unread(opening: bytes, client: httpx.AsyncClient):
    body = b'{"query":"q","documents":["a"],"other":[' + opening * 1_000_001
    status, seconds, most_bytes = await costs_of(client, body)
    assert status == 400
    assert seconds < 2
    assert most_bytes < 32 * MIB


async def test_more_documents_than_allowed_are_refused_without_a_look_at_each(client: httpx.AsyncClient):
    for name in ("documents", "texts"):
        content = b'{"query":"q","documents":["a"],"' + name.encode() + b'":[' + b'"",' * 30_000 + b'""]}'
        response = await client.post("/rerank", content=content, headers=JSON)
        assert (response.status_code, response.json().get("error") is not None) == (400, True)
        assert "30001 documents are more than the 20000" in response.text


async def test_pairs_that_are_numbers_are_refused_at_once_in_bounded_memory(client: httpx.AsyncClient):
    status, seconds, most_bytes = await costs_of(client, filled(b'{"text_1":"q","text_2":[', b"0,", b"0]}"), "/score")
    assert status == 400
    assert seconds < 3
    assert most_bytes < 32 * MIB


HARMLESS = {
    "a field twice": b'{"query":"other","query":"q","documents":["a"],"documents":["a","b"]}',
    "an unknown field of lists": filled(b'{"query":"q","documents":["a","b"],"other":[', b"[],", b"[]]}"),
    "many fields": b'{"query":"q","documents":["a","b"]'
    + b"".join(b',"%d":0' % number for number in range(60_000))
    + b"}",
    "many digits": filled(b'{"query":"q","documents":["a","b"],"other":0.', b"9", b"}"),
}


@pytest.mark.parametrize("body", HARMLESS.values(), ids=HARMLESS)
async def test_what_is_only_odd_is_answered_as_usual(body: bytes, client: httpx.AsyncClient, worker: FakeVllm):
    status, seconds, most_bytes = await costs_of(client, body)
    assert status == 200
    assert worker.scored[-1].queries == ["q", "q"]
    assert worker.scored[-1].documents == ["a", "b"]
    assert seconds < 3
    assert most_bytes < 96 * MIB


async def test_fields_nobody_knows_are_forgotten_before_scoring_begins():
    worker = FakeVllm(delay_s=0.3)
    body = filled(b'{"query":"q","documents":["a"],"other":[', b"{},", b"{}]}")
    async with gateway(worker) as client:
        tracemalloc.start()
        try:
            asked = asyncio.create_task(client.post("/rerank", content=body, headers=JSON))
            await until(lambda: worker.in_flight)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (await asked).status_code == 200
    assert held < 2 * MIB


GZIPPED = gzip.compress(b" " * 16 * MIB + BODY)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "gzip, identity"])
async def test_a_compressed_body_is_refused_and_never_unpacked(encoding: str, client: httpx.AsyncClient):
    tracemalloc.start()
    try:
        response = await client.post("/rerank", content=GZIPPED, headers=JSON | {"Content-Encoding": encoding})
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert response.status_code == 415
    assert most_bytes < 4 * MIB
