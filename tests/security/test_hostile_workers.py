"""What a worker that is bought, broken into or mistaken for one can do to the gateway and its clients."""

import asyncio
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from app.errors import BadAnswer, Misconfigured, Unreachable, WorkerError
from app.fleet.vllm import VllmLink
from app.work import Caller, Chunk, Fingerprint, Pairs
from tests.fake_vllm import Call, FakeVllm, reply, status
from tests.listening import listening
from tests.running import gateway, rerank
from tests.test_log import logged

MIB = 2**20
Say = Callable[[asyncio.StreamWriter], Awaitable[None]]
CHUNK = Chunk(
    pairs=Pairs(["q"], ["a"]),
    fingerprint=Fingerprint("m", "r", 512, "1", ""),
    fields={},
    pair_tokens=(1,),
    caller=Caller(key="", request_id="id-1", deadline=0),
    tokens=1,
)


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
    "headers without an end": says(b"200 OK\r\n", b"a: b\r\n" * 100_000, 20),
}


@pytest.mark.parametrize("say", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("what", ["score", "identify"])
async def test_an_answer_without_end_is_cut_off_in_bounded_memory(what: str, say: Say):
    async with link_to(say) as link:
        tracemalloc.start()
        try:
            with pytest.raises(WorkerError):
                await (link.score(CHUNK) if what == "score" else link.identify())
            _, most_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # The limits are 64 and 16 MiB; the parts of an answer are joined at the end.
    assert most_bytes < (150 if what == "score" else 40) * MIB


@pytest.mark.parametrize("code", [b"301", b"302", b"303", b"307", b"308"])
async def test_a_redirect_is_never_followed(code: bytes):
    visits: list[bytes] = []

    async def inside(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append(await reader.read(1))
        writer.close()

    async with listening(inside) as port:
        head = code + b" Found\r\nLocation: http://127.0.0.1:%d/latest/meta-data\r\nContent-Length: 0\r\n\r\n" % port
        async with link_to(says(head)) as link:
            for call in (link.score(CHUNK), link.identify(), link.count_tokens("m", "text")):
                with pytest.raises(Misconfigured):
                    await call
    assert visits == []


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
        for call in (link.score(CHUNK), link.identify()):
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
