"""The API: bad bodies, limits, keys, request ids and time limits, over real sockets."""

import asyncio
import base64
import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.fake_vllm import FakeVllm, score_of
from tests.running import gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = b'{"query":"q","documents":["a","b"]}'
JSON = {"Content-Type": "application/json"}
GENERATED = re.compile(r"[0-9a-f]{16}")


async def post(
    client: httpx.AsyncClient, content: bytes = BODY, path: str = "/rerank", **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(path, content=content, headers=JSON | named)


def message_of(response: httpx.Response) -> str:
    return str(response.json()["error"]["message"])


@dataclass
class Wire:
    """A connection on which a test writes its bytes itself."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, head: str, body: bytes = b"") -> None:
        self.writer.write(head.replace("\n", "\r\n").encode() + body)
        await self.writer.drain()

    async def receive(self) -> tuple[int, dict[str, str], Any]:
        """Status, headers and decoded body of the next answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return int(first.split(" ")[1]), headers, json.loads(body)

    async def is_closed(self) -> bool:
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def wire_to(client: httpx.AsyncClient) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


def head(path: str = "/rerank", **headers: str | int) -> str:
    lines = [f"POST {path} HTTP/1.1", "Host: gateway", "Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\n".join(lines) + "\n\n"


@pytest.mark.parametrize(
    "content",
    [
        rb'{"query":"\ud800","documents":["a"]}',
        rb'{"query":"\udc00 x","documents":["a"]}',
        rb'{"query":"q","documents":["a","b\ud83d"]}',
        rb'{"query":"q","documents":["\ude00\ud83d"]}',
        rb'{"query":"q","documents":["a"],"\ud800":1}',
        rb'{"query":"q","documents":["a"],"model":"\ud800"}',
        b'{"query":"\xed\xa0\x80","documents":["a"]}',
        b'{"query":"\xff\xfe","documents":["a"]}',
        b'{"query":"\xc3","documents":["a"]}',
        b'{"query":"q","documents":["a"],"top_n":NaN}',
        b'{"query":"q","documents":["a"],"top_n":Infinity}',
        b'{"query":"q","documents":["a"],"foo":-Infinity}',
        b'{"query":"q","documents":["a"],"foo":' + b"9" * 5000 + b"}",
        b'{"query":"q","documents":["a"],}',
        b"{'query':'q','documents':['a']}",
        b'{"query":"q","documents":["a"]} x',
        b'{"query":"q","documents":["a\n"]}',
        b'{"query":"q","documents":["a"',
        b"",
        b" ",
        b"\x00",
        b"query=q&documents=a",
        '{"query":"q","documents":["a"]}'.encode("utf-16"),
        b'{"query":"q","documents":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"query":"q","documents":["a"],"foo":' + b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
    ids=lambda content: repr(content[:60]),
)
async def test_what_is_no_json_is_a_400_that_says_where(content: bytes, client: httpx.AsyncClient, worker: FakeVllm):
    asked = len(worker.scored)
    response = await post(client, content)
    assert response.status_code == 400
    assert re.fullmatch(r"The body is not valid JSON: .{1,90} at line \d+ column \d+\.", message_of(response))
    assert len(worker.scored) == asked


@pytest.mark.parametrize("content", [b"[]", b'"x"', b"1", b"null", b"true", b'[{"query":"q"}]'])
async def test_json_that_is_no_object_is_a_400_that_shows_one(content: bytes, client: httpx.AsyncClient):
    response = await post(client, content)
    assert response.status_code == 400
    assert message_of(response).startswith('The body must be a JSON object such as {"query": ')


async def test_text_of_every_kind_gets_through(client: httpx.AsyncClient, worker: FakeVllm):
    documents = ["", " ", "\0", "\u2028", "😀", "ü", "a\ud7ffb", "\ufffd", '"\\/\b\f\n\r\t', "日本語", "x" * 100_000]
    response = await post(client, json.dumps({"query": "😀", "documents": documents}).encode())
    assert response.status_code == 200
    assert worker.scored[-1].documents == documents
    escaped = await post(client, rb'{"query":"\ud83d\ude00","documents":["\u00fc\u0000"]}')
    assert escaped.json()["results"][0]["relevance_score"] == score_of("😀", "ü\0")


@pytest.mark.parametrize(
    "field",
    [
        b'"timeout_ms":' + b"9" * 400,
        b'"timeout_ms":' + b"9" * 4000,
        b'"top_n":' + b"9" * 4000,
        b'"max_tokens_per_doc":' + b"9" * 400,
        b'"priority":' + b"9" * 400,
    ],
    ids=lambda field: field[:20].decode(),
)
async def test_a_number_beyond_all_bounds_limits_nothing(field: bytes, client: httpx.AsyncClient):
    response = await post(client, b'{"query":"q","documents":["a","b"],' + field + b"}")
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonl",
        "application/problem+json",
        "application/octet-stream",
        "*/*",
        "json",
        ";",
    ],
)
async def test_a_content_type_that_is_not_json_is_a_415(content_type: str, client: httpx.AsyncClient):
    response = await post(client, Content_Type=content_type)
    assert response.status_code == 415
    assert message_of(response) == "The body must be JSON: send the header Content-Type: application/json."


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON;x=y", "application/json ;a"],
)
async def test_json_by_any_spelling_is_taken(content_type: str, client: httpx.AsyncClient):
    assert (await post(client, Content_Type=content_type)).status_code == 200


async def test_a_body_without_a_content_type_is_taken_for_json(client: httpx.AsyncClient):
    async with wire_to(client) as wire:
        await wire.send(f"POST /rerank HTTP/1.1\nHost: gateway\nContent-Length: {len(BODY)}\n\n", BODY)
        status, _, answer = await wire.receive()
    assert status == 200
    assert len(answer["results"]) == 2


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip"])
async def test_a_compressed_body_is_a_415(encoding: str, client: httpx.AsyncClient):
    response = await post(client, gzip.compress(BODY), Content_Encoding=encoding)
    assert response.status_code == 415
    assert message_of(response) == "Compressed bodies aren't taken: send the JSON as it is."


async def test_an_identity_encoding_is_none(client: httpx.AsyncClient):
    assert (await post(client, Content_Encoding="identity")).status_code == 200


async def test_too_many_documents_are_a_400_that_tells_both_numbers(client: httpx.AsyncClient, worker: FakeVllm):
    asked = len(worker.scored)
    for name in ("documents", "texts"):
        response = await post(client, json.dumps({"query": "q", name: ["a"] * 100_000}).encode())
        assert response.status_code == 400
        told = "100000 documents are more than the 20000 one request may have: send fewer"
        assert told in json.dumps(response.json())
    assert len(worker.scored) == asked


async def test_as_many_documents_as_allowed_are_served():
    async with gateway(FakeVllm(), max_documents=3) as client:
        assert (await client.post("/rerank", json={"query": "q", "documents": ["a"] * 3})).status_code == 200
        assert (await client.post("/rerank", json={"query": "q", "documents": ["a"] * 4})).status_code == 400
        pairs = {"text_1": ["q"] * 4, "text_2": ["a"] * 4}
        assert (await client.post("/score", json=pairs)).status_code == 400


async def test_a_text_with_too_many_characters_is_named():
    long, longest = "😀" * 11, "😀" * 10
    cases: list[tuple[str, dict[str, Any], str | None]] = [
        ("/rerank", {"query": longest, "documents": [longest, "a"]}, None),
        ("/rerank", {"query": "q", "documents": ["a", "b", "c", long, long]}, "documents[3]"),
        ("/rerank", {"query": long, "documents": ["a"]}, "query"),
        ("/v2/rerank", {"query": "q", "documents": ["a", long]}, "documents[1]"),
        ("/rerank", {"query": "q", "documents": ["a", {"t": long}], "rank_fields": ["t"]}, "documents[1]"),
        ("/rerank", {"query": "q", "documents": [{"a": longest, "b": "x"}], "rank_fields": ["a", "b"]}, "documents[0]"),
        ("/score", {"text_1": "q", "text_2": ["a", long]}, "documents[1]"),
        ("/score", {"text_1": ["q", long], "text_2": ["a", "b"]}, "query[1]"),
    ]
    async with gateway(FakeVllm(), max_document_chars=10) as client:
        for path, body, param in cases:
            response = await client.post(path, json=body)
            assert response.status_code == (400 if param else 200), (body, response.text)
            if param:
                assert response.json()["error"]["param"] == param
                told = rf"{re.escape(param)} has 1[12] characters, more than the 10 allowed: shorten it"
                assert re.fullmatch(told, message_of(response))
        tei = await client.post("/rerank", json={"query": "q", "texts": ["a", long]})
    assert tei.json() == {
        "error": "documents[1] has 11 characters, more than the 10 allowed: shorten it",
        "error_type": "Validation",
    }


async def test_a_refused_request_leaves_its_connection_usable(client: httpx.AsyncClient):
    async with wire_to(client) as wire:
        for refused in (b"{", b"[]", b'{"query":"q"}', b'{"query":"q","documents":["a"],"model":"nope"}'):
            await wire.send(head(Content_Length=len(refused)), refused)
            assert (await wire.receive())[0] in {400, 404}
        await wire.send(head("/nothing", Content_Length=len(BODY)), BODY)
        assert (await wire.receive())[0] == 404
        await wire.send(head(Content_Length=len(BODY)), BODY)
        assert (await wire.receive())[0] == 200


async def test_a_body_that_stops_half_way_is_a_408_and_gives_its_bytes_back():
    room = len(BODY)
    async with gateway(FakeVllm(), body_timeout_s=0.1, max_body_bytes=room, max_bytes_in_flight=room) as client:
        for begun, first in (
            (head(Content_Length=room), BODY[:9]),
            (head(Transfer_Encoding="chunked"), b"9\r\n" + BODY[:9]),
        ):
            async with wire_to(client) as wire:
                await wire.send(begun, first)
                status, headers, answer = await wire.receive()
                assert status == 408
                assert answer["error"]["message"] == "The body didn't arrive in 0.1 s: send it faster, or send less."
                assert headers["connection"] == "close"
                assert await wire.is_closed()
        assert (await post(client)).status_code == 200


async def test_a_client_that_leaves_in_the_middle_of_its_body_gives_its_bytes_back():
    room = len(BODY)
    async with gateway(FakeVllm(), max_body_bytes=room, max_bytes_in_flight=room) as client:
        async with wire_to(client) as wire:
            await wire.send(head(Content_Length=room), BODY[:9])
            await until(client, 429)
        await until(client, 200)


async def until(client: httpx.AsyncClient, status: int) -> httpx.Response:
    """The first answer with this status."""
    for _ in range(400):
        response = await post(client)
        if response.status_code == status:
            return response
        await asyncio.sleep(0.005)
    raise TimeoutError(response.text)


async def test_a_body_above_the_limit_is_a_413_before_it_is_sent():
    async with gateway(FakeVllm(), max_body_bytes=len(BODY)) as client, wire_to(client) as wire:
        assert (await post(client)).status_code == 200
        await wire.send(head("/v1/rerank", Content_Length=len(BODY) + 1, Expect="100-continue"))
        status, headers, answer = await wire.receive()
        assert status == 413
        assert headers["connection"] == "close"
        assert answer["detail"] == "The body has more than 35 bytes: send fewer documents per request."
        assert await wire.is_closed()


async def test_a_chunked_body_above_the_limit_is_a_413_as_soon_as_it_is_above():
    async with gateway(FakeVllm(), max_body_bytes=len(BODY)) as client, wire_to(client) as wire:
        await wire.send(head(Transfer_Encoding="chunked"), b"23\r\n" + BODY + b"\r\n1\r\n \r\n")
        status, headers, answer = await wire.receive()
        assert status == 413
        assert headers["connection"] == "close"
        assert answer["error"]["type"] == "RequestTooLargeError"
        assert await wire.is_closed()


async def test_a_chunked_body_at_the_limit_is_served():
    async with gateway(FakeVllm(), max_body_bytes=len(BODY)) as client, wire_to(client) as wire:
        await wire.send(head(Transfer_Encoding="chunked"), b"1\r\n{\r\n22\r\n" + BODY[1:] + b"\r\n0\r\n\r\n")
        assert (await wire.receive())[0] == 200


async def test_bytes_beyond_what_the_gateway_may_hold_are_a_429_until_some_are_given_back():
    room = len(BODY) + 10
    async with gateway(FakeVllm(), max_body_bytes=room, max_bytes_in_flight=room) as client:
        async with wire_to(client) as wire:
            await wire.send(head(Content_Length=len(BODY)), BODY[:-1])
            refused = await until(client, 429)
            told = "The gateway holds as many bytes of requests and unread answers as it may"
            assert message_of(refused) == f"{told} (RERANK_MAX_BYTES_IN_FLIGHT, {room}): try again."
            assert int(refused.headers["Retry-After"]) >= 1
            # A few bytes still fit, and are judged for what they are.
            assert (await post(client, b"{}")).status_code == 400
            await wire.send("", BODY[-1:])
            assert (await wire.receive())[0] == 200
        assert (await post(client)).status_code == 200


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def locked() -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key of a gateway that needs one."""
    async with gateway(FakeVllm(), api_keys="milvus:sekret, search:p:a ss") as client:
        yield client


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer sekret",
        "bearer sekret",
        "BEARER sekret",
        "Bearer   sekret",
        "Bearer p:a ss",
        basic("anybody", "sekret"),
        basic("", "sekret"),
        basic("anybody", "p:a ss"),
        basic("milvus", "sekret").replace("Basic", "basic"),
    ],
)
@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_a_known_key_opens(authorization: str, path: str, locked: httpx.AsyncClient):
    assert (await post(locked, path=path, Authorization=authorization)).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "sekret",
        "Bearer",
        "Bearer Sekret",
        "Bearer sekret2",
        "Bearer sekre",
        "Bearer milvus",
        "Bearer milvus:sekret",
        "Token sekret",
        "Basic sekret",
        "Basic c2Vrcmv0",
        basic("sekret", ""),
        basic("sekret", "wrong"),
        "Basic " + base64.b64encode(b"sekret").decode(),
        "Basic " + base64.b64encode(b"\xff:sekret").decode(),
        "Bearer sekret, Bearer sekret",
    ],
)
async def test_every_other_key_is_a_401_that_says_how_to_send_one(authorization: str | None, locked: httpx.AsyncClient):
    headers = JSON if authorization is None else JSON | {"Authorization": authorization}
    response = await locked.post("/rerank", content=BODY, headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    how = "as Authorization: Bearer KEY, or as the Basic password."
    problem = "An API key is needed: send it" if not authorization else "This API key is wrong: send a valid one"
    assert response.json()["error"] == {
        "message": f"{problem} {how}",
        "type": "AuthenticationError",
        "param": None,
        "code": 401,
    }


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank", "/score", "/v1/score", "/rerank/"])
async def test_every_path_that_scores_needs_the_key(path: str, locked: httpx.AsyncClient):
    assert (await post(locked, path=path)).status_code == 401


async def test_models_need_the_key_and_probes_do_not(locked: httpx.AsyncClient):
    assert (await locked.get("/v1/models")).status_code == 401
    assert (await locked.get("/v1/models", headers={"Authorization": "Bearer sekret"})).status_code == 200
    for path in ("/livez", "/readyz", "/health", "/version", "/metrics"):
        assert (await locked.get(path)).status_code == 200


async def test_a_key_in_the_query_string_opens_nothing(locked: httpx.AsyncClient):
    for name in ("key", "api_key", "token", "authorization"):
        assert (await post(locked, path=f"/rerank?{name}=sekret")).status_code == 401


async def test_the_key_is_checked_before_the_body_is_read(locked: httpx.AsyncClient):
    async with wire_to(locked) as wire:
        await wire.send(head("/rerank?dialect=tei", Content_Length=30_000_000, Expect="100-continue"))
        status, _, answer = await wire.receive()
    assert status == 401
    assert answer.keys() == {"error", "error_type"}
    # Nor is anything else about the request told to strangers.
    assert (await post(locked, b"{")).status_code == 401
    assert (await post(locked, Content_Type="text/plain")).status_code == 401
    assert (await post(locked, path="/rerank?top_n=1")).status_code == 401


async def test_the_rest_of_a_refused_strangers_body_does_not_become_the_next_request(locked: httpx.AsyncClient):
    smuggled = head(Content_Length=len(BODY), Authorization="Bearer sekret").replace("\n", "\r\n").encode() + BODY
    async with wire_to(locked) as wire:
        await wire.send(head(Content_Length=len(smuggled)))
        assert (await wire.receive())[0] == 401
        # The connection ends after the answer, and nothing of what still comes is read as a request.
        await wire.send("", smuggled)
        await wire.send(head(Content_Length=len(BODY)), BODY)
        assert await wire.reader.read() == b""


async def test_an_open_gateway_minds_no_key(client: httpx.AsyncClient):
    assert (await post(client, Authorization="Bearer whatever")).status_code == 200
    assert (await post(client, Authorization="nonsense")).status_code == 200


@pytest.mark.parametrize("given", ["abc-123", "A.b_c:d-9", "x" * 128, "0", "550e8400-e29b-41d4-a716-446655440000"])
async def test_a_request_id_goes_in_out_and_on_to_the_worker(given: str, client: httpx.AsyncClient, worker: FakeVllm):
    response = await post(client, X_Request_Id=given)
    assert response.headers["X-Request-Id"] == given
    assert response.json()["id"] == f"rerank-{given}"
    assert worker.scored[-1].headers["x-request-id"].startswith(f"{given}-")


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, 'a"b', "a/b", "ü", "<script>", "a\tb", "a;b", "{}"])
async def test_a_request_id_that_is_unfit_for_logs_is_replaced(given: str, client: httpx.AsyncClient, worker: FakeVllm):
    response = await client.post("/rerank", content=BODY, headers={b"X-Request-Id": given.encode()})
    assert response.status_code == 200
    assert GENERATED.fullmatch(response.headers["X-Request-Id"])
    assert worker.scored[-1].headers["x-request-id"].startswith(response.headers["X-Request-Id"] + "-")


async def test_requests_without_an_id_get_one_each(client: httpx.AsyncClient):
    ids = {(await post(client)).headers["X-Request-Id"] for _ in range(20)}
    assert len(ids) == 20
    assert all(map(GENERATED.fullmatch, ids))


async def test_every_chunk_of_a_request_carries_its_id_and_a_number():
    worker = FakeVllm()
    async with gateway(worker, max_batch=4, min_batch=1) as client:
        content = json.dumps({"query": "q", "documents": [str(number) for number in range(20)]}).encode()
        await post(client, content, X_Request_Id="one-for-all")
    assert len(worker.scored) >= 5
    assert all(re.fullmatch(r"one-for-all-\d+", call.headers["x-request-id"]) for call in worker.scored)


async def test_every_answer_has_the_id_errors_and_probes_too(client: httpx.AsyncClient, locked: httpx.AsyncClient):
    mark = {"X-Request-Id": "mark-1"}
    answers = [
        await client.post("/rerank", content=b"{", headers=mark),
        await client.post("/rerank", content=b"{}", headers=mark | {"Content-Type": "text/plain"}),
        await locked.post("/rerank", content=b"{}", headers=mark),
        await client.get("/rerank", headers=mark),
        await client.get("/nothing", headers=mark),
        await client.get("/livez", headers=mark),
        await client.get("/metrics", headers=mark),
        await client.get("/docs", headers=mark),
    ]
    assert [answer.status_code for answer in answers] == [400, 415, 401, 405, 404, 200, 200, 200]
    assert {answer.headers["X-Request-Id"] for answer in answers} == {"mark-1"}


async def test_the_shortest_time_limit_ends_a_request_with_a_504_and_takes_its_work_from_the_worker():
    worker = FakeVllm(delay_s=5)
    body = {"query": "q", "documents": ["a"]}
    calls: list[dict[str, Any]] = [
        {"url": "/rerank", "headers": {"X-Request-Timeout-Ms": "60"}},
        {"url": "/rerank?timeout_ms=60"},
        {"url": "/rerank", "json": body | {"timeout_ms": 60}},
        {"url": "/rerank", "json": body | {"timeout_ms": "60"}},
        {"url": "/rerank?timeout_ms=4000", "headers": {"X-Request-Timeout-Ms": "60"}},
        {
            "url": "/rerank?timeout_ms=60",
            "headers": {"X-Request-Timeout-Ms": "4000"},
            "json": body | {"timeout_ms": 3000},
        },
        {
            "url": "/rerank?timeout_ms=4000",
            "headers": {"X-Request-Timeout-Ms": "3000"},
            "json": body | {"timeout_ms": 60},
        },
    ]
    async with gateway(worker) as client:
        for call in calls:
            started = perf_counter()
            response = await client.post(**{"json": body} | call)
            assert perf_counter() - started < 3, call
            assert response.status_code == 504, response.text
            assert response.json()["error"]["type"] == "GatewayTimeoutError"
            assert re.fullmatch(r"Time ran out while 127\.0\.0\.1:\d+ worked on 1 documents\.", message_of(response))
        await until_equal(lambda: worker.abandoned, len(calls))


async def until_equal(value: Any, expected: int) -> None:
    for _ in range(400):
        if value() == expected:
            return
        await asyncio.sleep(0.005)
    raise TimeoutError(f"{value()} is not {expected}")


async def test_a_client_can_not_lengthen_the_gateways_own_limit():
    async with gateway(FakeVllm(delay_s=5), deadline_s=0.1, no_worker_wait_s=0.05) as client:
        started = perf_counter()
        for limit in ("60000", "9223372036854775807"):
            response = await post(client, path=f"/rerank?timeout_ms={limit}", X_Request_Timeout_Ms=limit)
            assert response.status_code == 504
        assert perf_counter() - started < 4


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "1e3", "soon", "", "+5", "1_000", "²", "٣", "9" * 400, "9" * 5000])
async def test_a_time_limit_that_is_no_number_of_milliseconds_is_a_400(given: str, client: httpx.AsyncClient):
    by_header = await client.post("/rerank", content=BODY, headers={b"X-Request-Timeout-Ms": given.encode()})
    assert by_header.status_code == 400
    assert by_header.json()["error"]["param"] == "X-Request-Timeout-Ms"
    assert message_of(by_header) == "X-Request-Timeout-Ms must be a whole number of milliseconds above 0"
    by_query = await client.post("/rerank", params={"timeout_ms": given}, content=BODY)
    assert by_query.status_code == 400
    assert by_query.json()["error"]["param"] == "timeout_ms"


@pytest.mark.parametrize("given", ["1000", "0001000", "9223372036854775807"])
async def test_a_time_limit_that_is_long_enough_changes_nothing(given: str, client: httpx.AsyncClient):
    response = await post(client, path=f"/rerank?timeout_ms={given}", X_Request_Timeout_Ms=given)
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/rerank", "POST"),
        ("PUT", "/v1/rerank", "POST"),
        ("DELETE", "/v2/rerank", "POST"),
        ("OPTIONS", "/score", "POST"),
        ("POST", "/livez", "GET"),
        ("POST", "/v1/models", "GET"),
    ],
)
async def test_a_wrong_method_is_a_405_that_names_the_right_one(
    method: str, path: str, allowed: str, client: httpx.AsyncClient
):
    response = await client.request(method, path)
    assert response.status_code == 405
    assert response.headers["Allow"] == allowed
    assert message_of(response) == f"{method} is not served here: see /docs."


@pytest.mark.parametrize(
    "path", ["/rerank/", "/v1/rerank/", "/v2/rerank//", "/score/", "/v1/score/?model=tiny-reranker"]
)
async def test_a_trailing_slash_is_served_and_never_redirected(path: str, client: httpx.AsyncClient):
    body = {"query": "q", "text_1": "q", "documents": ["a"], "text_2": ["a"]}
    response = await client.post(path, json=body)
    assert response.status_code == 200


async def test_who_leaves_before_the_answer_takes_the_work_along():
    worker = FakeVllm(delay_s=5)
    async with gateway(worker) as client, wire_to(client) as wire:
        await wire.send(head(Content_Length=len(BODY)), BODY)
        await until_equal(lambda: worker.in_flight, 1)
        wire.writer.close()
        await until_equal(lambda: worker.abandoned, 1)


async def test_requests_sent_ahead_of_an_answer_wait_outside():
    worker = FakeVllm(delay_s=5)
    ahead = b"GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n" * 500_000
    async with gateway(worker) as client, wire_to(client) as wire:
        await wire.send(head(Content_Length=len(BODY)), BODY)
        await until_equal(lambda: worker.in_flight, 1)
        wire.writer.write(ahead)
        await asyncio.sleep(1)
        left = wire.writer.transport.get_write_buffer_size()
        await asyncio.sleep(0.5)
        assert wire.writer.transport.get_write_buffer_size() == left > 0
