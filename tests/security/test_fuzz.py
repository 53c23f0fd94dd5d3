"""Every dialect on every route, mutated: nothing but 2xx and 4xx, and a gateway that works as before."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.dialects import NAMES, ROUTES
from tests.pictures import content_of, png
from tests.security.raw import BODY, heard

VALID: dict[str, dict[str, Any]] = {
    "vllm": {"query": "q", "documents": ["a", {"text": "b"}], "top_n": 1, "return_documents": True},
    "images": {"query": content_of("q", png()), "documents": [content_of(png(), "a"), {"image": "a", "text": "b"}]},
    "cohere1": {"query": "q", "documents": [{"title": "a"}], "rank_fields": ["title"], "return_documents": True},
    "tei": {"query": "q", "texts": ["a"], "truncation_direction": "Left", "raw_scores": True, "return_text": True},
    "voyage": {"query": "q", "documents": ["a"], "top_k": 1, "truncation": True, "return_documents": True},
    "infinity": {"query": "q", "documents": ["a"], "return_documents": True, "raw_scores": True},
    "nvidia": {"query": {"text": "q"}, "passages": [{"text": "a"}, "b"], "truncate": "NONE"},
    "mixedbread": {"query": "q", "input": ["a", {"title": "b", "text": "c"}], "rank_fields": ["text"], "top_k": 1},
    "weaviate": {"query": "q", "documents": ["a"], "property": ""},
    "ali": {"input": {"query": "q", "documents": ["a"]}, "parameters": {"top_n": 1, "return_documents": True}},
    "huggingface": {"inputs": {"source_sentence": "q", "sentences": ["a"]}},
    "score": {"text_1": "q", "text_2": ["a", "b"], "queries": ["q"], "items": ["a"]},
}
SHARED = {"model": "", "truncate_prompt_tokens": 8, "max_tokens_per_doc": 8, "use_activation": True, "priority": 1}
DIALECTS = (*NAMES, "score", "nonsense")
FIELDS = sorted({name for body in VALID.values() for name in body} | SHARED.keys() | {"instruction", "other"})
QUICK = settings(
    max_examples=120, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([2**31, 2**63, 2**64, -(2**63), 10**30, 1e308, 5e-324, 0.5, -0.0]),
    st.text(max_size=12),
    st.sampled_from(["", "\x00", "\ud7ff\ue000", "\U0001f600", "a" * 5000, "1", "true", "null", "-1"]),
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["text", "title", ""]), inner, max_size=3)
        | st.dictionaries(st.sampled_from(["content", "type", "image", "image_url", "url", "text"]), inner, max_size=3)
    ),
    max_leaves=6,
)
printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A valid body with some fields changed, added or left out, and sometimes a byte that isn't its own."""
    body = VALID[draw(st.sampled_from(sorted(VALID)))] | draw(st.sampled_from([{}, SHARED]))
    body = body | draw(st.dictionaries(st.sampled_from(FIELDS), values, max_size=3))
    for name in draw(st.lists(st.sampled_from(sorted(body)), max_size=1)):
        del body[name]
    written = json.dumps(body, ensure_ascii=draw(st.booleans())).encode()
    if draw(st.integers(0, 3)):
        return written
    place = draw(st.integers(0, len(written)))
    return written[:place] + draw(st.binary(max_size=4)) + written[place + draw(st.integers(0, 4)) :]


paths = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "", "", "/v1", "/voyage", "/cohere/v2", "/api", "/models/tiny-reranker", "/models/none"]),
    st.sampled_from(ROUTES),
    st.sampled_from(["", "", "/"]),
)
queries = st.lists(
    st.tuples(
        st.sampled_from(["dialect", "model", "timeout_ms", "cache", "top_n", "return_documents", "max_tokens_per_doc"])
        | printable,
        st.sampled_from([*DIALECTS, "0", "-1", "true", "no-store", "9" * 40, "", "%", "\x7f"]) | st.text(max_size=8),
    ),
    max_size=3,
)
headers = st.dictionaries(
    st.sampled_from(
        [
            "X-Request-Id",
            "X-Request-Timeout-Ms",
            "X-Rerank-Cache",
            "X-Rerank-Degraded",
            "Content-Type",
            "Content-Encoding",
            "Authorization",
            "Origin",
            "Accept",
            "traceparent",
        ]
    ),
    st.sampled_from(["", "0", "no-cache", "deny", "application/json", "identity", "5000", "Basic ="]) | printable,
    max_size=3,
)


def test_a_mutated_body_gets_a_2xx_or_a_4xx_and_the_gateway_goes_on(url: str):
    seen: set[int] = set()
    with httpx.Client(base_url=url, timeout=5) as client:

        @QUICK
        @given(body=bodies(), path=paths, dialect=st.sampled_from(DIALECTS) | st.none())
        def is_answered(body: bytes, path: str, dialect: str | None) -> None:
            response = client.post(path, content=body, params={"dialect": dialect} if dialect else {})
            seen.add(response.status_code)
            assert response.json() is not None

        is_answered()
        assert client.post("/rerank", content=BODY).status_code == 200
    assert seen >= {200, 400}
    assert seen <= {200, 400, 404}


@pytest.mark.parametrize("name", VALID)
def test_odd_query_strings_and_headers_get_a_2xx_or_a_4xx(name: str, url: str):
    seen: set[int] = set()
    with httpx.Client(base_url=url, timeout=5) as client:

        @settings(QUICK, max_examples=40)
        @given(path=paths, query=queries, more=headers)
        def is_answered(path: str, query: list[tuple[str, str]], more: dict[str, str]) -> None:
            response = client.post(path, content=json.dumps(VALID[name]), params=dict(query), headers=more)
            seen.add(response.status_code)

        is_answered()
        assert client.post("/rerank", content=BODY).status_code == 200
    # A client that allows 1 ms may be told that it was too little.
    assert seen - {504} <= {200, 400, 404, 415}


def test_any_bytes_as_a_body_are_refused(url: str):
    with httpx.Client(base_url=url, timeout=5) as client:

        @QUICK
        @given(body=st.binary(max_size=300), path=st.sampled_from(ROUTES))
        def is_refused(body: bytes, path: str) -> None:
            assert client.post(path, content=body).status_code == 400

        is_refused()
        assert client.post("/rerank", content=BODY).status_code == 200


HEAD = st.sampled_from([b"GET /livez HTTP/1.1\r\n", b"POST /rerank HTTP/1.1\r\n", b"OPTIONS * HTTP/1.0\r\n", b""])
LINES = st.sampled_from(
    [
        b"Host: g\r\n",
        b"Content-Length: 35\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close, upgrade\r\n",
        b"Upgrade: h2c\r\n",
        b"Expect: 100-continue\r\n",
        b"\r\n",
        b"\n",
        b"0\r\n\r\n",
        b"23\r\n" + BODY + b"\r\n",
        BODY,
    ]
)


def test_any_bytes_on_a_connection_are_answered_with_2xx_or_4xx_or_not_at_all(url: str):
    client = httpx.AsyncClient(base_url=url)

    @settings(QUICK, max_examples=60)
    @given(head=HEAD, lines=st.lists(LINES | st.binary(max_size=30), max_size=8))
    def is_survived(head: bytes, lines: list[bytes]) -> None:
        answer = asyncio.run(heard(client, head + b"".join(lines), within_s=0.03))
        assert not [status for status in answer.statuses if status >= 500]

    is_survived()
    assert httpx.post(f"{url}/rerank", content=BODY).status_code == 200
    asyncio.run(client.aclose())
