"""What vLLM answers, read by the link to a worker: every recorded score, every recorded error."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.errors import BadAnswer, Busy, ContentRejected, Misconfigured, WorkerError
from app.types import Answer, Pairs
from app.workers.link import Identity, ServedModel
from app.workers.vllm import VllmLink
from tests.contract.recordings import RECORDINGS, Recording, each
from tests.fake_vllm import Call, FakeVllm, Fault, reply, score_of, status
from tests.running import gateway

TINY = "tiny-reranker"
SCORED = [recording for recording in RECORDINGS.values() if recording.is_about_scores and recording.status == 200]
# A NaN in the client's own request can't reach a worker, so what vLLM says about one is left out.
REFUSED = [
    recording
    for recording in RECORDINGS.values()
    if recording.is_about_scores and recording.status != 200 and recording.name != "http_nan"
]
MEANINGS: dict[int, type[WorkerError]] = {
    307: Misconfigured,
    400: ContentRejected,
    401: Misconfigured,
    404: Misconfigured,
    405: Misconfigured,
    503: Busy,
}


def replaying(recording: Recording) -> Fault:
    """Answer what was recorded."""

    async def fault(_: Call, writer: Any) -> None:
        reply(writer, recording.status, recording.answer)

    return fault


@asynccontextmanager
async def link_to(recording: Recording) -> AsyncIterator[tuple[VllmLink, FakeVllm]]:
    """A link to a worker that answers what was recorded, on the route it was recorded on."""
    worker = FakeVllm(always=replaying(recording), has_score_route="score" in recording.path)
    async with worker.running():
        link = VllmLink(worker.url)
        try:
            yield link, worker
        finally:
            await link.close()


async def ask(link: VllmLink, queries: list[str], documents: list[str], **fields: Any) -> Answer:
    return await link.score(TINY, Pairs(queries, documents), fields, request_id="id-1")


def rows_of(recording: Recording) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = recording.answer["results" if "rerank" in recording.path else "data"]
    return rows


def scores_of(recording: Recording) -> list[float]:
    """The recorded scores in the order of the documents."""
    name = "relevance_score" if "rerank" in recording.path else "score"
    return [row[name] for row in sorted(rows_of(recording), key=lambda row: int(row["index"]))]


def is_complete(recording: Recording) -> bool:
    return len(rows_of(recording)) == len(recording.documents)


@pytest.mark.parametrize("recording", each(filter(is_complete, SCORED)))
async def test_every_recorded_score_is_read_and_put_in_the_order_of_the_documents(recording: Recording):
    async with link_to(recording) as (link, _):
        answer = await ask(link, recording.queries, recording.documents)
    assert answer.scores == scores_of(recording)
    assert answer.tokens == recording.answer["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("recording", each(recording for recording in SCORED if not is_complete(recording)))
async def test_an_answer_with_fewer_scores_than_documents_is_never_taken(recording: Recording):
    async with link_to(recording) as (link, _):
        with pytest.raises(BadAnswer, match=rf"returned \d scores for {len(recording.documents)} documents"):
            await ask(link, recording.queries, recording.documents)


async def test_both_routes_give_the_same_scores_for_the_same_pairs():
    by_score, by_rerank = RECORDINGS["score_1_N"], RECORDINGS["rerank_v1"]
    assert by_score.documents == by_rerank.documents
    async with link_to(by_score) as (link, _):
        scores = (await ask(link, by_score.queries, by_score.documents)).scores
    async with link_to(by_rerank) as (link, _):
        reranked = (await ask(link, by_rerank.queries, by_rerank.documents)).scores
    # Repeats of one call differ by up to 1.2e-7.
    assert reranked == pytest.approx(scores, abs=2e-7)


@pytest.mark.parametrize("name", ["score_text_1_text_2", "rerank_v1", "rerank_max_tokens_per_doc_32"])
async def test_the_link_sends_what_vllm_is_known_to_take(name: str):
    recording = RECORDINGS[name]
    fields = {key: value for key, value in recording.body.items() if key == "max_tokens_per_doc"}
    async with link_to(recording) as (link, worker):
        await ask(link, recording.queries, recording.documents, **fields)
        assert worker.calls[-1].path == recording.path
        assert worker.calls[-1].body == recording.body
        assert worker.calls[-1].headers["content-type"] == "application/json"
        assert worker.calls[-1].headers["x-request-id"].startswith("id-1-")


@pytest.mark.parametrize("recording", each(REFUSED))
async def test_every_recorded_error_is_told_apart_by_what_can_be_done_about_it(recording: Recording):
    async with link_to(recording) as (link, _):
        with pytest.raises(WorkerError) as caught:
            await ask(link, ["q"], ["a", "b"])
    assert type(caught.value) is MEANINGS[recording.status]
    if recording.status == 400:
        assert caught.value.message == message_of(recording)[:300]
    else:
        assert caught.value.message.startswith(f"{link.name} answered {recording.status}: ")
    if recording.status == 401:
        assert "Unauthorized; check RERANK_WORKER_API_KEY" in caught.value.message
    if recording.status in {404, 405, 307}:
        assert caught.value.message.endswith("check its address in RERANK_WORKERS and the model it serves")


def message_of(recording: Recording) -> str:
    answer = recording.answer
    return str(answer["error"]["message"] if "error" in answer else answer["detail"])


@pytest.mark.parametrize(
    "message",
    ["Out of range float values are not JSON compliant: nan", "Out of range float values are not JSON compliant"],
)
async def test_a_400_about_a_score_that_is_no_number_is_the_workers_fault(message: str):
    worker = FakeVllm(always=status(400, message))
    async with worker.running():
        link = VllmLink(worker.url)
        with pytest.raises(BadAnswer):
            await ask(link, ["q"], ["a"])
        await link.close()


@pytest.mark.parametrize("message", ["This model nanbeige takes 512 tokens.", "Nancy's finance document is too long."])
async def test_a_400_with_nan_inside_a_word_stays_the_clients(message: str):
    worker = FakeVllm(always=status(400, message))
    async with worker.running():
        link = VllmLink(worker.url)
        with pytest.raises(ContentRejected, match=message):
            await ask(link, ["q"], ["a"])
        await link.close()


class _Replay(FakeVllm):
    """Answers the recordings of the rare calls."""

    async def _answer(self, call: Call, reader: Any, writer: Any) -> None:
        recorded = {"/version": "version", "/v1/models": "models", "/tokenize": "tokenize"}
        reply(writer, 200, RECORDINGS[recorded[call.path]].answer)


async def test_a_recorded_worker_is_identified_and_counts_tokens():
    worker = _Replay()
    async with worker.running():
        link = VllmLink(worker.url)
        identity = await link.identify()
        tokens = await link.count_tokens(TINY, RECORDINGS["tokenize"].body["prompt"], request_id="id-1")
        await link.close()
    assert identity == Identity("0.32.0", [ServedModel(TINY, "/models/tiny-reranker", 512)])
    assert tokens == 8


def shown(body: dict[str, Any]) -> Iterable[str]:
    """Every text in an error body."""
    error = body["error"]
    return [error] if isinstance(error, str) else [error["message"], *filter(None, (body.get("detail"),))]


@pytest.mark.parametrize(
    ("path", "texts"),
    [("/rerank", "documents"), ("/v1/rerank", "documents"), ("/rerank", "texts")],
    ids=["milvus", "jina", "tei"],
)
async def test_vllms_own_words_reach_the_client_when_a_document_is_too_long_and_may_not_be_cut(path: str, texts: str):
    recording = RECORDINGS["rerank_doc_too_long"]
    worker = FakeVllm(always=replaying(recording))
    async with gateway(worker, long_documents="error") as client:
        response = await client.post(path, json={"query": "q", texts: ["short", "long"]})
    assert response.status_code == 400
    named = f"documents[0], documents[1]: {message_of(recording)[:300]}"
    assert all(text == named for text in shown(response.json()))
    assert "truncate_prompt_tokens" not in worker.scored[0].body


@pytest.mark.parametrize(
    ("name", "status_code", "told"),
    [
        ("queue_limit_128_with_129_docs", 503, "busy and cannot accept new requests"),
        ("auth_missing", 502, "RERANK_WORKER_API_KEY"),
        ("rerank_wrong_model", 502, "RERANK_WORKERS"),
        ("http_trailing_slash", 502, "RERANK_WORKERS"),
    ],
)
async def test_a_workers_own_trouble_is_never_told_as_the_clients(name: str, status_code: int, told: str):
    worker = FakeVllm(always=replaying(RECORDINGS[name]))
    async with gateway(worker, max_attempts=1) as client:
        response = await client.post("/rerank", json={"query": "q", "documents": ["a"]})
    assert response.status_code == status_code
    assert told in response.json()["error"]["message"]
    assert worker.url.removeprefix("http://") in response.json()["error"]["message"]
    assert ("Retry-After" in response.headers) == (status_code == 503)


async def test_scores_come_from_another_worker_when_one_answers_what_was_recorded_for_a_missing_key():
    locked, good = FakeVllm(always=replaying(RECORDINGS["auth_missing"])), FakeVllm()
    async with gateway(locked, good) as client:
        responses = [await client.post("/rerank", json={"query": "q", "documents": ["a"]}) for _ in range(4)]
    assert [response.json()["results"][0]["relevance_score"] for response in responses] == [score_of("q", "a")] * 4
