"""Where a request ends: whatever is ambiguous about it is refused, so nobody's body is another's request."""

import httpx
import pytest

from tests.fake_vllm import FakeVllm
from tests.security.raw import BODY, CHUNKED, LENGTH, POST, SECOND, heard

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIZE = b"%x" % len(BODY)
ONE_CHUNK = SIZE + b"\r\n" + BODY + b"\r\n0\r\n\r\n"


def with_header(*lines: bytes) -> bytes:
    return POST + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


AMBIGUOUS = {
    "length and chunks": with_header(LENGTH[:-2], b"Transfer-Encoding: chunked") + ONE_CHUNK,
    "chunks and length": with_header(b"Transfer-Encoding: chunked", b"Content-Length: 4") + ONE_CHUNK + SECOND,
    "length beyond the last chunk": with_header(b"Content-Length: 100", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "two equal lengths": with_header(LENGTH[:-2], LENGTH[:-2]) + BODY,
    "two lengths": with_header(LENGTH[:-2], b"Content-Length: 0") + BODY + SECOND,
    "a list of lengths": with_header(b"Content-Length: 35, 35") + BODY,
    "a length with a plus": with_header(b"Content-Length: +35") + BODY,
    "a negative length": with_header(b"Content-Length: -1") + BODY,
    "a length in hex": with_header(b"Content-Length: 0x23") + BODY,
    "a length beyond 64 bits": with_header(b"Content-Length: 18446744073709551651") + BODY,
    "an empty length": with_header(b"Content-Length: ") + BODY,
    "a space before the colon": with_header(b"Content-Length : 35") + BODY,
    "an unknown coding": with_header(b"Transfer-Encoding: xchunked") + ONE_CHUNK + SECOND,
    "an unknown coding and a length": with_header(b"Transfer-Encoding: xchunked", LENGTH[:-2]) + BODY + SECOND,
    "identity and a length": with_header(b"Transfer-Encoding: identity", LENGTH[:-2]) + BODY,
    "chunked not last": with_header(b"Transfer-Encoding: chunked, identity") + ONE_CHUNK + SECOND,
    "two codings": with_header(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity") + ONE_CHUNK + SECOND,
    "a vertical tab before chunked": with_header(b"Transfer-Encoding: \x0bchunked") + ONE_CHUNK + SECOND,
    "a folded header": with_header(LENGTH[:-2], b"X: a", b" b") + BODY,
    "a folded coding": with_header(b"Transfer-Encoding:", b" chunked") + ONE_CHUNK,
    "bare line feeds": with_header(LENGTH[:-2]).replace(b"\r\n", b"\n") + BODY,
    "a coding behind a bare line feed": with_header(LENGTH[:-2], b"X: a\nTransfer-Encoding: chunked") + ONE_CHUNK,
    "a coding behind a bare carriage return": with_header(LENGTH[:-2], b"X: a\rTransfer-Encoding: chunked") + BODY,
    "NUL in a value": with_header(LENGTH[:-2], b"X: a\x00b") + BODY,
    "NUL in a name": with_header(LENGTH[:-2], b"X\x00: a") + BODY,
    "a control character in a value": with_header(LENGTH[:-2], b"X: a\x1bb") + BODY,
    "a header without a name": with_header(LENGTH[:-2], b": a") + BODY,
    "a header without a colon": with_header(LENGTH[:-2], b"abc") + BODY,
    "a chunk size with a prefix": CHUNKED + b"0x" + ONE_CHUNK + SECOND,
    "a chunk size with a sign": CHUNKED + b"+" + ONE_CHUNK + SECOND,
    "a negative chunk size": CHUNKED + b"-" + ONE_CHUNK + SECOND,
    "a chunk size beyond 64 bits": CHUNKED + b"f" * 18 + b"\r\n" + BODY + SECOND,
    "a chunk size with a space": CHUNKED + ONE_CHUNK.replace(b"\r\n", b" \r\n", 1) + SECOND,
    "a chunk longer than its size": CHUNKED + ONE_CHUNK.replace(SIZE, b"5", 1) + SECOND,
    "a chunk without its end": CHUNKED + SIZE + b"\r\n" + BODY + b"0\r\n\r\n" + SECOND,
    "chunks with bare line feeds": CHUNKED + ONE_CHUNK.replace(b"\r\n", b"\n") + SECOND,
    "an extension with a bare line feed": CHUNKED + SIZE + b";a\n" + BODY + b"\r\n0\r\n\r\n" + SECOND,
    "an extension with a carriage return": CHUNKED + SIZE + b";a\rb\r\n" + BODY + b"\r\n0\r\n\r\n" + SECOND,
    "a length in the trailers": CHUNKED + ONE_CHUNK[:-2] + b"Content-Length: 9\r\n\r\n" + SECOND,
    "another version of HTTP": b"GET /version HTTP/1.2\r\nHost: gateway\r\n\r\n",
    "a tunnel": b"CONNECT inside:443 HTTP/1.1\r\nHost: gateway\r\n\r\n" + SECOND,
}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_an_ambiguous_request_is_refused_closes_its_connection_and_scores_nothing(
    sent: bytes, client: httpx.AsyncClient, worker: FakeVllm
):
    scored = len(worker.scored)
    answer = await heard(client, sent)
    assert (answer.statuses, answer.is_closed) == ([400], True)
    assert len(worker.scored) == scored


CLEAR = {
    "chunks": CHUNKED + ONE_CHUNK,
    "chunk extensions": CHUNKED + SIZE + b';a=b;c="d"\r\n' + BODY + b"\r\n0;e\r\n\r\n",
    "trailers": CHUNKED + ONE_CHUNK[:-2] + b"X: y\r\n\r\n",
    "names in other letters": POST + b"tRANSFER-eNCODING: CHUNKED\r\n\r\n" + ONE_CHUNK,
    "tabs around a value": with_header(b"Content-Length:\t%d\t" % len(BODY)) + BODY,
    "an expectation nobody knows": with_header(LENGTH[:-2], b"Expect: 200-ok") + BODY,
    "a second request behind Connection: close": with_header(LENGTH[:-2], b"Connection: close") + BODY + SECOND,
}


@pytest.mark.parametrize("sent", CLEAR.values(), ids=CLEAR)
async def test_an_unusual_request_that_is_clear_is_one_request(
    sent: bytes, client: httpx.AsyncClient, worker: FakeVllm
):
    scored = len(worker.scored)
    assert (await heard(client, sent)).statuses == [200]
    assert len(worker.scored) == scored + 1


async def test_a_body_that_nobody_reads_is_never_the_next_request(client: httpx.AsyncClient):
    sent = b"GET /livez HTTP/1.1\r\nHost: gateway\r\nContent-Length: %d\r\n\r\n" % len(SECOND) + SECOND
    assert (await heard(client, sent)).statuses == [200]


async def test_a_trailer_is_no_header(client: httpx.AsyncClient):
    answer = await heard(client, CHUNKED + ONE_CHUNK[:-2] + b"X-Request-Id: from-a-trailer\r\n\r\n")
    assert answer.statuses == [200]
    assert b"from-a-trailer" not in answer.text


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
OFFERS = {
    "h2c": OFFER,
    "websocket": b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "something else": b"connection: keep-alive\r\nUPGRADE: other/1\r\nConnection:UPGRADE\r\n",
}


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
async def test_an_offer_to_speak_another_protocol_changes_nothing(
    offer: bytes, framing: str, client: httpx.AsyncClient, worker: FakeVllm
):
    one = {"length": with_header(offer + LENGTH[:-2]) + BODY, "chunks": CHUNKED[:-2] + offer + b"\r\n" + ONE_CHUNK}
    get = b"GET /livez HTTP/1.1\r\nHost: gateway\r\n" + offer + b"\r\n"
    sent = one[framing] + get + one[framing] + SECOND
    # In one piece, and with a cut at several places of the first head and body.
    for cut in range(0, len(one[framing]) + 1, 41):
        scored = len(worker.scored)
        answer = await heard(client, sent[:cut], sent[cut:], within_s=0.05)
        assert (answer.statuses, answer.is_closed) == ([200, 200, 200, 200], False)
        assert len(worker.scored) == scored + 2


async def test_thousands_of_offers_at_once_are_answered_one_by_one(client: httpx.AsyncClient):
    one = b"GET /livez HTTP/1.1\r\nHost: gateway\r\n" + OFFER + b"\r\n"
    assert (await heard(client, one * 2000, within_s=1)).statuses == [200] * 2000


async def test_an_offer_makes_no_ambiguous_request_clear(client: httpx.AsyncClient, worker: FakeVllm):
    scored = len(worker.scored)
    for name, sent in AMBIGUOUS.items():
        if sent.startswith(POST) and b"\r\n" in sent:
            offered = POST + OFFER + sent.removeprefix(POST)
            answer = await heard(client, offered)
            assert (answer.statuses, answer.is_closed) == ([400], True), name
    assert len(worker.scored) == scored


async def test_no_other_protocol_is_spoken_after_an_offer(client: httpx.AsyncClient):
    offer = b"GET /livez HTTP/1.1\r\nHost: gateway\r\n" + OFFER + b"\r\n"
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)
    for following in (preface, b"\x81\x85\x37\xfa\x21\x3d"):
        answer = await heard(client, offer + following)
        assert (answer.statuses[-1], answer.is_closed) == (400, True)
        assert 101 not in answer.statuses
