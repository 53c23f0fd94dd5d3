"""Bodies that are small to send and large to read: refused in no time, without the memory they are after."""

import asyncio
import gzip
import time
from collections import deque

import httpx
import pytest

from tests.fake_vllm import FakeVllm
from tests.growth import traced_memory
from tests.running import gateway, rerank
from tests.security.raw import BODY
from tests.waiting import until

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
    with traced_memory() as memory:
        response = await client.post(path, content=content, headers=JSON)
        most_bytes = memory.most_bytes
    return response.status_code, time.process_time() - began, most_bytes


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS)
async def test_a_body_that_is_a_bomb_is_refused_at_once_in_bounded_memory(body: bytes, client: httpx.AsyncClient):
    status, seconds, most_bytes = await costs_of(client, body)
    assert status == 400
    assert seconds < 3
    assert most_bytes < 32 * MIB


MANY = {
    "objects": b"{},",
    "lists": b"[],",
    "lists of objects": b"[{}],",
    "numbers": b"0,",
    "texts": b'"",',
    "keys": b'"a":0,',
    "texts that end in escapes": rb'"\\",',
}


@pytest.mark.parametrize("each", MANY.values(), ids=MANY)
async def test_more_than_half_a_million_values_are_refused_unread(each: bytes, client: httpx.AsyncClient):
    opening, end = (b"{", b'"":0}}') if each == MANY["keys"] else (b"[", b"0]}")
    body = b'{"query":"q","documents":["a"],"other":' + opening + each * 500_001 + end
    status, seconds, most_bytes = await costs_of(client, body)
    assert status == 400
    assert seconds < 2
    assert most_bytes < 128 * MIB


async def test_as_many_distinct_keys_as_are_taken_hold_nobody_up(client: httpx.AsyncClient):
    """2.5 million took 1.5 s in which nobody else was served."""
    keys = b"".join(b'"%d":0,' % number for number in range(499_000))
    body = b'{"query":"q","documents":["a"],"other":{' + keys + b'"":0}}'
    status, seconds, most_bytes = await costs_of(client, body)
    assert status == 200
    assert seconds < 3
    assert most_bytes < 128 * MIB


LONG_TEXT = rb"{\"a\":[1,2,{}],\\\"b\\\":\u005b}, " * 100_000


async def test_what_stands_in_texts_is_not_counted(client: httpx.AsyncClient, worker: FakeVllm):
    body = b'{"query":"q","documents":["' + LONG_TEXT[:900_000].rpartition(b", ")[0] + b'"]}'
    many = b'{"query":"q","documents":["' + b'","'.join([LONG_TEXT[:960_000].rpartition(b", ")[0]] * 6) + b'"]}'
    for content in (body, many):
        assert (await client.post("/rerank", content=content, headers=JSON)).status_code == 200
    assert worker.scored[-1].documents[-1].startswith('{"a":[1,2,{}],\\"b\\":[}, ')


FIELDS = {
    "fields that no document has": (b'{"a":0},' * 15_000, b'"b",' * 35_000 + b'"a",'),
    "a field again and again": (b'{"a":"' + b"x" * 128 * 1024 + b'"},', b'"a",' * 30_000),
    "fields that each document has": (b'{"a":0,"b":0},' * 9_000, b'"a","b",' * 15_000),
}


@pytest.mark.parametrize(("documents", "fields"), FIELDS.values(), ids=FIELDS)
async def test_documents_by_rank_fields_take_no_more_than_they_are_long(
    documents: bytes, fields: bytes, client: httpx.AsyncClient
):
    body = b'{"query":"q","documents":[' + documents[:-1] + b'],"rank_fields":[' + fields[:-1] + b"]}"
    status, seconds, most_bytes = await costs_of(client, body)
    assert status == 200
    assert seconds < 3
    assert most_bytes < 32 * MIB


async def test_texts_that_go_to_workers_with_every_chunk_are_as_short_as_documents():
    settings = {"max_document_chars": 100, "forward_fields": ("mm_processor_kwargs",)}
    fields = {"instruction": "x" * 101, "mm_processor_kwargs": {"a": ["x" * 91]}}
    async with gateway(FakeVllm(), **settings) as client:
        for name, value in fields.items():
            for path in ("/rerank", "/v2/rerank"):
                response = await rerank(client, ["a"], path, **{name: value})
                assert response.status_code == 400
                assert f"{name} has 101 characters, more than the 100 allowed: shorten it" in response.text
        assert (await rerank(client, ["a"], instruction="x" * 100, mm_processor_kwargs={"a": "x"})).status_code == 200


async def test_instructions_are_forgotten_with_their_requests():
    """Sixty of 20 MB stayed in memory."""
    async with gateway(FakeVllm(calls=deque(maxlen=1)), cache=True) as client:
        with traced_memory() as memory:
            for number in range(20):
                assert (await rerank(client, ["a"], instruction=f"{number}" + "x" * 900_000)).status_code == 200
            kept_bytes = memory.kept_bytes()
    assert kept_bytes < 4 * MIB


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
        with traced_memory() as memory:
            asked = asyncio.create_task(client.post("/rerank", content=body, headers=JSON))
            await until(lambda: worker.in_flight)
            kept_bytes = memory.kept_bytes()
        assert (await asked).status_code == 200
    assert kept_bytes < 2 * MIB


GZIPPED = gzip.compress(b" " * 16 * MIB + BODY)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "gzip, identity"])
async def test_a_compressed_body_is_refused_and_never_unpacked(encoding: str, client: httpx.AsyncClient):
    with traced_memory() as memory:
        response = await client.post("/rerank", content=GZIPPED, headers=JSON | {"Content-Encoding": encoding})
        most_bytes = memory.most_bytes
    assert response.status_code == 415
    assert most_bytes < 4 * MIB
