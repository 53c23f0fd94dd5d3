"""The cohere SDK, version 1 and 2 of its API, with a gateway as its base URL."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import cohere
import pytest

from tests.clients.background import gateway_in_background
from tests.fake_vllm import FakeVllm, score_of, status
from tests.running import gateway

MODEL = "tiny-reranker"
QUERY = "What is the capital of France?"
TEXTS = [f"The capital of country {number} is city {number}." for number in range(150)]
KEY = "key"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with gateway_in_background(FakeVllm(), FakeVllm(), api_keys={"cohere": KEY}) as url:
        yield url


@pytest.fixture
def v1(url: str) -> Iterator[cohere.Client]:
    with cohere.Client(KEY, base_url=url) as client:
        yield client


@pytest.fixture
def v2(url: str) -> Iterator[cohere.ClientV2]:
    with cohere.ClientV2(KEY, base_url=url) as client:
        yield client


def check_ranking(results: Sequence[Any], texts: Sequence[str], top_n: int | None = None) -> None:
    """The results are the best of `texts`, best first, with the worker's scores."""
    scores = [score_of(QUERY, text) for text in texts]
    best = sorted(range(len(texts)), key=lambda index: -scores[index])[:top_n]
    assert [result.index for result in results] == best
    assert [result.relevance_score for result in results] == [scores[index] for index in best]


@pytest.mark.parametrize("top_n", [None, 3, 150, 1000])
def test_v2_ranks_strings(v2: cohere.ClientV2, top_n: int | None):
    more: dict[str, Any] = {} if top_n is None else {"top_n": top_n}
    answer = v2.rerank(model=MODEL, query=QUERY, documents=TEXTS, **more)
    check_ranking(answer.results, TEXTS, top_n)
    assert answer.id
    assert answer.meta
    assert answer.meta.api_version
    assert answer.meta.api_version.version == "2"
    assert answer.meta.billed_units
    assert answer.meta.billed_units.search_units == 2


def test_v2_with_coheres_default_of_tokens_per_document(v2: cohere.ClientV2):
    answer = v2.rerank(model=MODEL, query=QUERY, documents=TEXTS, max_tokens_per_doc=4096)
    check_ranking(answer.results, TEXTS)


@pytest.mark.parametrize("model", [MODEL, None])
def test_v1_ranks_strings(v1: cohere.Client, model: str | None):
    more: dict[str, Any] = {} if model is None else {"model": model}
    answer = v1.rerank(query=QUERY, documents=TEXTS, top_n=5, **more)
    check_ranking(answer.results, TEXTS, 5)
    assert answer.meta
    assert answer.meta.api_version
    assert answer.meta.api_version.version == "1"


@pytest.mark.parametrize("wanted", [True, False])
def test_v1_returns_strings_as_texts_when_asked(v1: cohere.Client, wanted: bool):  # noqa: FBT001 - parametrized
    answer = v1.rerank(model=MODEL, query=QUERY, documents=TEXTS, return_documents=wanted)
    check_ranking(answer.results, TEXTS)
    returned = [result.document.text if result.document else None for result in answer.results]
    assert returned == [TEXTS[result.index] if wanted else None for result in answer.results]


def test_v1_ranks_objects_by_their_text(v1: cohere.Client):
    documents = [{"text": text, "source": "atlas"} for text in TEXTS]
    answer = v1.rerank(model=MODEL, query=QUERY, documents=documents, return_documents=True)
    check_ranking(answer.results, TEXTS)
    for result in answer.results:
        assert result.document
        assert result.document.model_dump() == documents[result.index]


def test_v1_ranks_objects_by_the_fields_it_is_told(v1: cohere.Client):
    documents = [{"title": f"title {number}", "text": text, "other": "x"} for number, text in enumerate(TEXTS)]
    answer = v1.rerank(model=MODEL, query=QUERY, documents=documents, rank_fields=["title", "text"])
    check_ranking(answer.results, [f"title {number}\n{text}" for number, text in enumerate(TEXTS)])


def test_v1_takes_strings_and_objects_in_one_list(v1: cohere.Client):
    documents: list[Any] = [TEXTS[0], {"text": TEXTS[1]}, {"text": TEXTS[2], "source": "atlas"}]
    answer = v1.rerank(model=MODEL, query=QUERY, documents=documents, max_chunks_per_doc=10)
    check_ranking(answer.results, TEXTS[:3])


@pytest.mark.parametrize("version", [cohere.Client, cohere.ClientV2])
def test_a_wrong_key_is_its_unauthorized_error(url: str, version: Any):
    with version("wrong", base_url=url) as client, pytest.raises(cohere.UnauthorizedError) as caught:
        client.rerank(model=MODEL, query=QUERY, documents=TEXTS)
    assert "API key" in str(caught.value.body)


@pytest.mark.parametrize("version", [cohere.Client, cohere.ClientV2])
def test_an_unknown_model_is_its_not_found_error(url: str, version: Any):
    with version(KEY, base_url=url) as client, pytest.raises(cohere.NotFoundError) as caught:
        client.rerank(model="rerank-v3.5", query=QUERY, documents=TEXTS)
    assert MODEL in str(caught.value.body)


def test_v2_reads_the_message_where_it_looks_for_it(v2: cohere.ClientV2):
    with pytest.raises(cohere.BadRequestError) as caught:
        v2.rerank(model=MODEL, query=QUERY, documents=[])
    assert caught.value.body["message"] == "documents is empty: send at least one document"


def test_v1_objects_without_a_field_to_rank_by_are_its_bad_request_error(v1: cohere.Client):
    with pytest.raises(cohere.BadRequestError, match=r"documents\[1\]"):
        v1.rerank(model=MODEL, query=QUERY, documents=[{"text": "a"}, {"title": "b"}])


def test_workers_out_of_order_are_its_service_unavailable_error_after_its_own_retries():
    worker = FakeVllm(always=status(503))
    with gateway_in_background(worker, max_attempts=1) as url, cohere.ClientV2(KEY, base_url=url) as client:
        with pytest.raises(cohere.ServiceUnavailableError):
            client.rerank(model=MODEL, query=QUERY, documents=TEXTS[:5], request_options={"max_retries": 0})
        worker.always = None
        worker.faults.append(status(503))
        answer = client.rerank(model=MODEL, query=QUERY, documents=TEXTS[:5])
    check_ranking(answer.results, TEXTS[:5])


async def test_the_asynchronous_client_ranks_too():
    async with gateway(FakeVllm()) as client, cohere.AsyncClientV2(KEY, base_url=str(client.base_url)) as v2:
        answer = await v2.rerank(model=MODEL, query=QUERY, documents=TEXTS, top_n=7)
    check_ranking(answer.results, TEXTS, 7)
    assert all(math.isfinite(result.relevance_score) for result in answer.results)
