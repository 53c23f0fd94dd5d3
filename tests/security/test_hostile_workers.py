"""What a worker that is bought, broken into or mistaken for one can do to the gateway and its clients."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.errors import BadAnswer, Busy, ClosedBeforeResponse, Misconfigured, Unreachable, WorkerError
from app.types import Answer, Pairs
from app.workers.vllm import VllmLink
from tests.fake_vllm import Call, FakeVllm, reply, status
from tests.growth import traced_memory
from tests.listening import listening
from tests.running import gateway, rerank
from tests.telemetry.test_log import logged

MIB = 2**20
Say = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def scoring(link: VllmLink) -> Answer:
    return await link.score("m", Pairs(["q"], ["a"]), {}, request_id="id-1")


@asynccontextmanager
async def link_to(say: Say) -> AsyncIterator[VllmLink]:
    """The link to a worker that answers every call with what `say` writes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await say(writer)
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with listening(serve) as port:
        link = VllmLink(f"http://127.0.0.1:{port}")
        try:
            yield link
        finally:
            await link.close()


def says(head: bytes, part: bytes = b"", times: int = 1) -> Say:
    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 " + head)
        for _ in range(times):
            writer.write(part)
            await writer.drain()

    return say


class RareAnswers(FakeVllm):
    """A worker whose answers to `/version` and `/v1/models` the test writes."""

    def __init__(self, answer: Callable[[Call, asyncio.StreamWriter], None]) -> None:
        super().__init__()
        self._rare = answer

    async def _answer(self, call: Call, reader: Any, writer: asyncio.StreamWriter) -> None:
        if call.path in {"/version", "/v1/models"}:
            self._rare(call, writer)
        else:
            await super()._answer(call, reader, writer)


def gzipped(mebibytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(b" " * MIB) for _ in range(mebibytes)) + packer.flush()


BOMB = gzipped(100)
FLOODS = {
    "1 GB announced": says(b"200 OK\r\nContent-Length: 1073741824\r\n\r\n", b" " * MIB, 100),
    "100 MiB in chunks": says(
        b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"100000\r\n" + b" " * MIB + b"\r\n", 100
    ),
    "100 MiB until it closes": says(b"200 OK\r\n\r\n", b" " * MIB, 100),
    "gzip": says(b"200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB), BOMB),
    "gzip in an error": says(b"500 No\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB), BOMB),
    "a header without an end": says(b"200 OK\r\nX: ", b"a" * MIB, 100),
    "headers without an end": says(b"200 OK\r\n", b"a: b\r\n" * 100_000, 100),
    "headers that differ": says(b"200 OK\r\n", b"".join(b"h%d: b\r\n" % number for number in range(100_000)), 60),
    "chunks of two bytes": says(b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\n[]\r\n" * 100_000, 90),
    "chunk extensions": says(b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * MIB, 100),
    "trailers": says(b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 100_000, 100),
    "a trailer without an end": says(b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: ", b"a" * MIB, 100),
    "answers before the answer": says(b"100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 40_000, 60),
    "JSON that unfolds": says(b"200 OK\r\nContent-Length: 60000001\r\n\r\n[", b"{}," * 100_000, 200),
}


@pytest.mark.parametrize("say", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("what", ["score", "identify"])
async def test_an_answer_without_end_is_cut_off_in_bounded_memory(what: str, say: Say):
    async with link_to(say) as link:
        with traced_memory() as memory:
            with pytest.raises(WorkerError):
                await (scoring(link) if what == "score" else link.identify())
            most_bytes = memory.most_bytes
    # What this server sends counts as well. Read to its end, each answer would take between 60 MB and 2 GB.
    assert most_bytes < 12 * MIB


async def test_another_protocol_is_no_answer():
    switching = says(
        b"101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n"
    )
    async with link_to(switching) as link:
        for call in (scoring(link), link.identify()):
            with pytest.raises(ClosedBeforeResponse):
                await call


async def test_a_trailer_is_no_header():
    body = b"5\r\nbusy!\r\n0\r\nRetry-After: 20\r\n\r\n"
    async with link_to(says(b"503 No\r\nTransfer-Encoding: chunked\r\n\r\n", body)) as link:
        with pytest.raises(Busy) as caught:
            await scoring(link)
    assert caught.value.retry_after_s is None


def json_of(value: object, code: bytes = b"200 OK", head: bytes = b"") -> Say:
    body = json.dumps(value).encode()
    return says(code + b"\r\n" + head + b"Content-Length: %d\r\n\r\n" % len(body), body)


MODEL = {"id": "m", "root": "/m", "max_model_len": 512}
ODD: dict[str, list[Any]] = {
    "id": [5, None, "", True, ["m"], "m" * 513],
    "root": [5, "", {}, "m" * 513],
    "max_model_len": [0, -1, None, True, "512", 512.0, 2**31, 10**30, []],
}
ODD_MODELS = [{field: odd} for field, values in ODD.items() for odd in values]


@pytest.mark.parametrize("odd", ODD_MODELS, ids=repr)
async def test_a_worker_with_an_odd_model_is_told_so_and_no_other_is_hurt(odd: dict[str, Any]):
    def answer(call: Call, writer: asyncio.StreamWriter) -> None:
        reply(writer, 200, {"data": [MODEL | odd]} if call.path == "/v1/models" else {"version": "1"})

    async with RareAnswers(answer).running() as bad, gateway(FakeVllm(), bad) as client:
        link = VllmLink(bad.url)
        with pytest.raises(Misconfigured, match=f"{link.name} (lists|says).*is it a vLLM server"):
            await link.identify()
        await link.close()
        assert (await rerank(client, ["a", "b"])).status_code == 200
        assert [row["id"] for row in (await client.get("/v1/models")).json()["data"]] == ["tiny-reranker"]


ODD_VERSIONS: list[Any] = ["", 5, None, [], "1" * 513]
ODD_LISTS: list[Any] = [5, None, "m", {"id": "m"}, [5], [None], [[]], [MODEL] * 5000]


@pytest.mark.parametrize(
    "told",
    [
        *({"version": odd, "data": [MODEL]} for odd in ODD_VERSIONS),
        *({"version": "1", "data": odd} for odd in ODD_LISTS),
        {"version": "1"},
        {},
        [],
        "text",
        None,
    ],
    ids=lambda told: repr(told)[:50],
)
async def test_who_lists_odd_things_is_no_vllm(told: Any):
    # Both of its answers, in one.
    async with link_to(json_of(told)) as link:
        with pytest.raises(Misconfigured, match="is it a vLLM server"):
            await link.identify()


@pytest.mark.parametrize("odd", [None, "5", -1, 2.5, True, 2**31, 10**30, [], {}])
async def test_what_is_no_count_of_tokens_is_not_taken_for_one(odd: object):
    for answer in ({"count": odd}, [odd], odd):
        async with link_to(json_of(answer)) as link:
            with pytest.raises(BadAnswer, match="didn't count tokens"):
                await link.count_tokens("m", "text", request_id="id-1")


@pytest.mark.parametrize(
    "usage",
    [None, [], "5", {}, *({"total_tokens": odd} for odd in (None, "5", -1, 2.5, True, 2**31, 10**30, [5], {"a": 1}))],
)
async def test_scores_are_an_answer_whatever_is_said_of_tokens(usage: object):
    async with link_to(json_of({"data": [{"index": 0, "score": 0.5}], "usage": usage})) as link:
        assert await scoring(link) == Answer([0.5], 0)


@pytest.mark.parametrize(
    ("told", "rest_s"),
    [
        (b"3", 3.0),
        (b"0", 0.0),
        (b"29", 29.0),
        (b"3600", 30.0),
        (b"9" * 400, 30.0),
        (b"0" * 400, 0.0),
        *((odd, None) for odd in (b"", b"-5", b"+5", b"1e9", b"2.5", b"inf", b"nan", b"1_0", b"\xb2", b"5, 6")),
        (b"Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
async def test_the_gateway_backs_off_for_half_a_minute_at_most_however_long_a_worker_asks_for(
    told: bytes, rest_s: float | None
):
    async with link_to(json_of({}, b"503 No", b"Retry-After: " + told + b"\r\n")) as link:
        with pytest.raises(Busy) as caught:
            await scoring(link)
    assert caught.value.retry_after_s == rest_s


@pytest.mark.parametrize("code", [b"301", b"302", b"303", b"307", b"308"])
async def test_a_redirect_is_never_followed(code: bytes):
    calls: list[bytes] = []

    async def inside(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(await reader.read(1))
        writer.close()

    async with listening(inside) as port:
        head = code + b" Found\r\nLocation: http://127.0.0.1:%d/latest/meta-data\r\nContent-Length: 0\r\n\r\n" % port
        async with link_to(says(head)) as link:
            for call in (
                scoring(link),
                link.identify(),
                link.count_tokens("m", "text", request_id="id-1"),
            ):
                with pytest.raises(Misconfigured):
                    await call
    assert calls == []


async def test_an_answer_that_comes_byte_by_byte_ends_with_the_requests_time():
    async def drip(_: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with gateway(FakeVllm(always=drip), deadline_s=0.5, no_worker_wait_s=0.1) as client, asyncio.timeout(5):
        assert (await rerank(client, ["a"])).status_code == 504
        assert (await client.get("/livez")).status_code == 200


async def test_headers_of_a_worker_never_reach_a_client():
    async def with_headers(call: Call, writer: asyncio.StreamWriter) -> None:
        scores = [{"index": index, "score": 0.5} for index in range(len(call.documents))]
        reply(writer, 200, {"data": scores}, Set_Cookie="a=b", Access_Control_Allow_Origin="*", X_Request_Id="theirs")

    async with gateway(FakeVllm(always=with_headers)) as client:
        response = await rerank(client, ["a"])
    assert response.status_code == 200
    assert not {"set-cookie", "access-control-allow-origin"} & set(response.headers)
    assert response.headers["X-Request-Id"] != "theirs"


@pytest.mark.parametrize("ending", [b"\r", b"\n", b"\x00", b"\r\n folded"])
async def test_an_answer_with_malformed_headers_is_no_answer(ending: bytes):
    async with link_to(says(b"200 OK\r\nX: a" + ending + b"b\r\nContent-Length: 2\r\n\r\n{}")) as link:
        for call in (scoring(link), link.identify()):
            with pytest.raises((BadAnswer, Misconfigured, Unreachable)):
                await call


SECRET = "the patient has zq7 and zq8"


@pytest.mark.parametrize("code", [400, 401, 404, 413, 422, 429, 500, 503])
async def test_texts_that_a_worker_quotes_are_told_to_nobody_but_their_client(code: int):
    worker = FakeVllm()
    with logged(level="debug") as out:
        async with gateway(worker, no_worker_wait_s=0, max_attempts=1, fallback="none") as client:
            worker.always = status(code, f"can't take the text: {SECRET}")
            own = await rerank(client, [SECRET])
            worker.always, worker.fails_probes = status(500, "no"), True
            others = [await rerank(client, ["another"]) for _ in range(3)]
            told = [other.text for other in others] + [(await client.get("/readyz")).text]
    assert own.status_code >= 400
    assert "zq7" not in out.getvalue()
    assert "zq7" not in "".join(told)
    if code == 400:
        assert SECRET in own.json()["error"]["message"]
