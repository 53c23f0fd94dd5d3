"""The copies of Go's libraries and of Milvus are strict where the originals are: tests that use them rely on it."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.clients.go_json import Unmarshal, float32, marshal, unmarshal
from tests.clients.milvus import Hit, Milvus, MilvusError, ProxyDied
from tests.listening import listening

THREE: list[Hit] = [(11, "a"), (12, "b"), (13, "c")]
RIGHT = (
    '{"results":[{"index":2,"relevance_score":0.3},{"index":0,"relevance_score":0.1},'
    '{"index":1,"relevance_score":0.2}]}'
)


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives `answers` in turn, the last one for ever, and keeps what it was sent."""
    sent: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                sent.append(head + await reader.readexactly(int(length or 0)))
                writer.write(answers[min(len(sent), len(answers)) - 1])
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()

    async with listening(serve) as port:
        yield f"127.0.0.1:{port}", sent


def answer(body: str, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body.encode())}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body.encode()


async def test_a_call_is_gos_byte_for_byte():
    async with answering(answer(RIGHT)) as (host, sent), Milvus(f"http://u:s%40@{host}/v1?model=x#y") as proxy:
        await proxy.search(["q"], [THREE])
    body = b'{"documents":["a","b","c"],"query":"q"}'
    assert sent == [
        b"POST /rerank?model=x HTTP/1.1\r\nHost: " + host.encode() + b"\r\nUser-Agent: Go-http-client/1.1\r\n"
        b"Content-Length: 39\r\nAuthorization: Basic dTpzQA==\r\nContent-Type: application/json\r\n"
        b"Accept-Encoding: gzip\r\n\r\n" + body
    ]


async def test_coheres_key_goes_as_lower_case_bearer_to_the_url_as_written():
    url, params = "/v2/rerank/", {"model_name": "m"}
    async with (
        answering(answer(RIGHT)) as (host, sent),
        Milvus(f"http://{host}{url}", "cohere", params=params, api_key="k") as proxy,
    ):
        await proxy.search(["q"], [THREE])
    assert sent[0].startswith(b"POST /v2/rerank/ HTTP/1.1\r\n")
    assert b"\r\nAccept: application/json\r\nAuthorization: bearer k\r\nContent-Type: application/json\r\n" in sent[0]
    assert sent[0].endswith(b'{"documents":["a","b","c"],"model":"m","query":"q"}')


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/rerank", "/v1/rerank/"])
@pytest.mark.parametrize(
    ("version", "provider", "target"),
    [
        ("2.6.0", "vllm", "/v2/rerank"),
        ("2.6", "vllm", "/rerank"),
        ("3.0", "vllm", "/rerank"),
        ("2.6.0", "tei", "/rerank"),
        ("3.0", "sglang", "/v1/rerank"),
    ],
)
def test_the_path_of_an_endpoint_is_overwritten(path: str, version: Any, provider: str, target: str):
    assert Milvus(f"http://gw:8080{path}?a=b", provider, version).url == f"http://gw:8080{target}?a=b"


def test_text_is_escaped_as_go_escapes_it():
    assert marshal({"b": '<a>&\u2028\x01\n"é\x7f', "a": [b"\xff \xe2\x82 \xc3\xa9", "", -1]}) == (
        rb'{"a":["\ufffd \ufffd\ufffd ' + "é".encode() + rb'","",-1],"b":"\u003ca\u003e\u0026\u2028\u0001\n\"'
        + "é\x7f".encode() + b'"}'
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (b"7.5", "int"),
        (b"7.0", "int"),
        (b"1e3", "int"),
        (b'"7"', "int"),
        (b"9223372036854775808", "int"),
        (b"true", "int"),
        (b"1e39", "float32"),
        (b"-1e400", "float32"),
        (b"NaN", "float32"),
        (b'"0.5"', "float32"),
        (b"7", "string"),
        (b"1", "bool"),
        (b"{}", ["int"]),
        (b"[]", {"a": "int"}),
        (b"[1] 2", ["int"]),
        (b"<html>", {"a": "int"}),
        (b"", {"a": "int"}),
    ],
)
def test_what_go_refuses_to_decode(body: bytes, shape: Any):
    with pytest.raises(Unmarshal):
        unmarshal(body, shape)


@pytest.mark.parametrize(
    ("body", "shape", "value"),
    [
        (b"null", "float32", 0.0),
        (b"null", ["int"], []),
        (b"1", "float32", 1.0),
        (b"0.1", "float32", float32(0.1)),
        (b'{"A":1,"other":"x"}', {"a": "int", "b": {"c": "string"}}, {"a": 1, "b": {"c": ""}}),
    ],
)
def test_what_go_decodes(body: bytes, shape: Any, value: Any):
    assert unmarshal(body, shape) == value


@pytest.mark.parametrize(
    ("body", "scores"),
    [
        (RIGHT, [0.1, 0.2, 0.3]),
        ('{"results":[{"index":2,"relevance_score":0.3},{"index":1,"relevance_score":0.2}]}', [0.2, 0.3, 0.0]),
        ("{}", [0.0, 0.0, 0.0]),
        ('{"error":{"message":"no"}}', [0.0, 0.0, 0.0]),
        ('{"results":[{"index":0,"relevance_score":null},{"index":1},{"index":2}]}', [0.0, 0.0, 0.0]),
    ],
)
async def test_scores_go_by_position(body: str, scores: list[float]):
    async with answering(answer(body)) as (host, _), Milvus(f"http://{host}") as proxy:
        assert await proxy.search(["q"], [THREE]) == [
            {key: float32(score) for (key, _), score in zip(THREE, scores, strict=True)}
        ]


async def test_one_result_too_many_kills_the_proxy():
    body = RIGHT.replace("[{", '[{"index":3,"relevance_score":0.4},{')
    async with answering(answer(body)) as (host, _), Milvus(f"http://{host}") as proxy:
        with pytest.raises(ProxyDied, match=r"index out of range \[3\] with length 3"):
            await proxy.search(["q"], [THREE])


async def test_sglang_gives_scores_by_index_and_misses_none():
    rows = '[{"index":1,"score":0.2},{"index":0,"score":0.1}%s]'
    answers = [
        answer(rows % more) for more in (',{"index":2,"score":0.3}', "", ',{"index":2}', ',{"index":1,"score":1}')
    ]
    async with (
        answering(*answers) as (host, sent),
        Milvus(f"http://{host}", "sglang", params={"model_name": "m"}) as proxy,
    ):
        assert await proxy.search(["q"], [THREE]) == [{11: float32(0.1), 12: float32(0.2), 13: float32(0.3)}]
        for _ in answers[1:]:
            with pytest.raises(MilvusError, match="get rerank scores failed"):
                await proxy.search(["q"], [THREE])
    assert len(sent) == len(answers)


async def test_every_status_but_200_is_tried_three_times_and_a_bad_body_once():
    bad = answer("nope", "400 Bad Request")
    async with answering(bad, bad, bad, answer("nope")) as (host, sent), Milvus(f"http://{host}") as proxy:
        proxy.pauses_s = (0, 0)
        with pytest.raises(MilvusError, match=r"^call service failed, errs:\[400 Bad Request, nope\]$"):
            await proxy.search(["q"], [THREE])
        assert len(sent) == 3
        with pytest.raises(MilvusError, match="unmarshal response failed"):
            await proxy.search(["q"], [THREE])
        assert len(sent) == 4


async def test_a_redirected_call_becomes_a_get():
    moved = answer("", "302 Found", "Location: /rerank/")
    async with answering(moved, answer(RIGHT)) as (host, sent), Milvus(f"http://{host}") as proxy:
        await proxy.search(["q"], [THREE])
    assert sent[1].startswith(b"GET /rerank/ HTTP/1.1\r\n")


async def test_an_idle_connection_that_the_server_closed_is_not_used_again():
    last = answer(RIGHT, "200 OK", "Connection: close")
    async with (
        answering(answer(RIGHT), answer(RIGHT), last, answer(RIGHT)) as (host, sent),
        Milvus(f"http://{host}") as proxy,
    ):
        for _ in range(4):
            await proxy.search(["q"], [THREE])
    assert len(sent) == 4
    assert proxy.http.opened == 2


async def test_chunked_and_compressed_answers_are_read():
    packed = gzip.compress(RIGHT.encode())
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n"
    whole = head + b"5\r\n" + packed[:5] + b"\r\n%x\r\n" % len(packed[5:]) + packed[5:] + b"\r\n0\r\n\r\n"
    async with answering(whole) as (host, _), Milvus(f"http://{host}") as proxy:
        assert await proxy.search(["q"], [THREE]) == [{11: float32(0.1), 12: float32(0.2), 13: float32(0.3)}]


async def test_all_tries_and_pauses_share_one_time_limit():
    async with answering(answer("busy", "503 Service Unavailable")) as (host, sent), Milvus(f"http://{host}") as proxy:
        proxy.timeout_s, proxy.pauses_s = 0.1, (5, 5)
        with pytest.raises(MilvusError, match=r"^context deadline exceeded$"):
            await proxy.search(["q"], [THREE])
    assert len(sent) == 1


async def test_hits_are_sent_once_per_key_in_batches_and_in_random_order_on_2_6():
    hits: list[Hit] = [(key % 50, f"text {key % 50}") for key in range(100)]
    params = {"max_client_batch_size": "20", "maxBatch": "1"}
    async with answering(answer("{}")) as (host, sent):
        for version in ("3.0", "3.0", "2.6", "2.6"):
            async with Milvus(f"http://{host}", version=version, params=params) as proxy:
                await proxy.search(["q"], [hits])
    orders = [b"".join(call.partition(b"\r\n\r\n")[2] for call in sent[turn : turn + 3]) for turn in (0, 3, 6, 9)]
    assert orders[0] == orders[1]
    assert len({*orders[:3]}) == 2
