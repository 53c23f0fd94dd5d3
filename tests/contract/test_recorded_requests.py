"""What vLLM was asked when its answers were recorded, asked of the gateway: the same clients get along with both."""

from typing import Any

import httpx
import pytest

from tests.contract.recordings import RECORDINGS, Recording, each
from tests.fake_vllm import FakeVllm, score_of
from tests.running import gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUCCEEDED = [recording for recording in RECORDINGS.values() if recording.is_about_scores and recording.status == 200]
LOCKED = [recording for recording in RECORDINGS.values() if recording.status == 401]
# Keys of vLLM's answers without a meaning for scores: null or 0 in every recording.
NOT_READ = {"multi_modal", "completion_tokens", "completion_tokens_details", "prompt_tokens_details"}
# What vLLM refuses and the gateway serves, and why.
FORGIVEN = {
    "http_trailing_slash": "a redirect would turn Milvus's POST into a GET",
    "queue_limit_128_with_129_docs": "the gateway splits it",
    "rerank_doc_too_long": "it is cut unless the client or the settings object",
    "rerank_docs_mm_content_text": "texts are read by every model, whatever they are wrapped in",
    "rerank_docs_text_object": "Cohere's and Jina's clients send such documents",
    "rerank_max_tokens_per_doc_511_long": "the pair is cut as well",
    "rerank_max_tokens_per_doc_512": "it limits nothing, and Cohere's clients send 4096",
    "rerank_mm_processor_kwargs": "not a field the gateway sends on",
    "rerank_priority_huge": "not a field the gateway sends on",
    "rerank_top_n_null": "some clients write null for all",
    "score_too_long_one_of_N": "it is cut unless the client or the settings object",
}
# Status, the field at fault, and what the message says of it and of what to do.
REFUSED: dict[str, tuple[int, str | None, str]] = {
    "http_empty_body": (400, None, "not valid JSON"),
    "http_get_rerank": (405, None, "GET is not served here"),
    "http_invalid_utf8": (400, None, "not valid JSON: invalid unicode code point at line 1 column"),
    "http_json_array": (400, None, "must be a JSON object such as {"),
    "http_json_string": (400, None, "must be a JSON object such as {"),
    "http_lone_surrogate": (400, None, "not valid JSON"),
    "http_malformed_json": (400, None, "not valid JSON: EOF while parsing a value at line 1 column 36"),
    "http_nan": (400, None, "not valid JSON: expected value at line 1 column"),
    "http_no_content_type_form": (415, None, "send the header Content-Type: application/json"),
    "http_put": (405, None, "PUT is not served here"),
    "http_wrong_content_type": (415, None, "send the header Content-Type: application/json"),
    "request_id_header_on_error": (404, "model", "`x` does not exist here; there is tiny-reranker"),
    "rerank_docs_empty_list": (400, "documents", "send at least one document"),
    "rerank_docs_missing": (400, "documents", "documents: Field required"),
    "rerank_docs_null": (400, "documents", "must be a list of strings"),
    "rerank_docs_with_int": (400, "documents[1]", "documents[1] is a number: send a string"),
    "rerank_docs_with_null": (400, "documents[1]", "documents[1] is null: send a string"),
    "rerank_many_bad_docs": (400, "documents[0]", "documents[0] is a number: send a string"),
    "rerank_max_tokens_per_doc_neg": (400, "max_tokens_per_doc", "greater than or equal to 0"),
    "rerank_model_int": (400, "model", "valid string"),
    "rerank_model_path": (404, "model", "there is tiny-reranker"),
    "rerank_query_int": (400, "query", "query is a number: send a string"),
    "rerank_query_list": (400, "query", "query is a list: send a string"),
    "rerank_query_list2": (400, "query", "query is a list: send a string"),
    "rerank_query_missing": (400, "query", "query: Field required"),
    "rerank_query_null": (400, "query", "query is null: send a string"),
    "rerank_query_too_long": (400, "query", "the model takes 512: shorten the query"),
    "rerank_top_n_float_frac": (400, "top_n", "valid integer"),
    "rerank_top_n_neg": (400, "top_n", "greater than or equal to 0"),
    "rerank_truncate_-2": (400, "truncate_prompt_tokens", "greater than or equal to -1"),
    "rerank_truncate_0": (400, "truncate_prompt_tokens", "send -1 for the model's length, or a positive number"),
    "rerank_truncate_str": (400, "truncate_prompt_tokens", "valid integer"),
    "rerank_truncate_too_large_513": (400, "truncate_prompt_tokens", "takes 512 tokens: send at most that, or -1"),
    "rerank_truncation_side_bad": (400, "truncation_side", "should be 'left' or 'right'"),
    "rerank_wrong_model": (404, "model", "`nope` does not exist here; there is tiny-reranker"),
    "score_N_1": (400, "text_1", "2 queries and 1 documents: send 1:1, 1:N or N:N"),
    "score_N_M_mismatch": (400, "text_1", "2 queries and 5 documents: send 1:1, 1:N or N:N"),
    "score_empty_docs": (400, "documents", "send at least one text"),
    "score_empty_queries": (400, "queries", "send at least one text"),
    "score_missing": (400, "text_1", "send text_1 and text_2, or queries and documents"),
    "score_wrong_model": (404, "model", "`nope` does not exist here; there is tiny-reranker"),
}


async def ask(client: httpx.AsyncClient, recording: Recording) -> httpx.Response:
    """The recorded request, sent to the gateway."""
    return await client.request(
        recording.method, recording.path, content=recording.content, headers=recording.headers, follow_redirects=False
    )


def is_right(recording: Recording, answer: dict[str, Any]) -> bool:
    """Whether scores and order are what the fake worker's rule says."""
    documents = recording.documents
    queries = recording.queries * (len(documents) // len(recording.queries))
    scores = [score_of(query, document) for query, document in zip(queries, documents, strict=True)]
    if "data" in answer:
        return [row["score"] for row in answer["data"]] == scores
    best = sorted(range(len(scores)), key=lambda index: -scores[index])[: len(answer["results"])]
    return [(row["index"], row["relevance_score"]) for row in answer["results"]] == [
        (index, scores[index]) for index in best
    ]


def keys_missing_from(answer: Any, recorded: Any, place: str = "") -> list[str]:
    """Keys that vLLM's answer has and ours hasn't."""
    if isinstance(recorded, list):
        return [
            missing
            for number, (ours, theirs) in enumerate(zip(answer, recorded, strict=True))
            for missing in keys_missing_from(ours, theirs, f"{place}[{number}]")
        ]
    if not isinstance(recorded, dict):
        return []
    return [f"{place}.{key}" for key in recorded if key not in answer] + [
        missing
        for key, value in recorded.items()
        if key in answer
        for missing in keys_missing_from(answer[key], value, f"{place}.{key}")
    ]


@pytest.mark.parametrize("recording", each(SUCCEEDED))
async def test_what_vllm_answers_is_answered_with_as_many_scores_in_a_shape_its_clients_read(
    recording: Recording, client: httpx.AsyncClient
):
    response = await ask(client, recording)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    rows = "results" if "rerank" in recording.path else "data"
    assert len(response.json()[rows]) == len(recording.answer[rows])
    assert is_right(recording, response.json())
    missing = {place.rpartition(".")[2] for place in keys_missing_from(response.json(), recording.answer)}
    echoes = recording.path == "/v1/rerank" and "return_documents" not in recording.body
    assert missing - NOT_READ == (set() if echoes or rows == "data" else {"document"})


@pytest.mark.parametrize("name", FORGIVEN)
async def test_what_vllm_refuses_and_clients_need_is_answered(name: str, client: httpx.AsyncClient):
    recording = RECORDINGS[name]
    response = await ask(client, recording)
    assert response.status_code == 200, response.text
    if name == "rerank_docs_text_object":
        texts = [document["text"] for document in recording.body["documents"]]
        assert sorted(row["document"]["text"] for row in response.json()["results"]) == sorted(texts)
    else:
        assert is_right(recording, response.json())


@pytest.mark.parametrize("name", REFUSED)
async def test_what_can_not_be_served_is_refused_with_what_where_and_what_to_do(
    name: str, client: httpx.AsyncClient, worker: FakeVllm
):
    recording = RECORDINGS[name]
    asked = len(worker.scored)
    response = await ask(client, recording)
    status, param, told = REFUSED[name]
    assert response.status_code == status, response.text
    body = response.json()
    assert body["error"]["code"] == status
    assert body["error"]["param"] == param
    assert told in body["error"]["message"]
    assert set(body) == ({"error", "detail"} if recording.path.startswith("/v1/") else {"error"})
    assert len(worker.scored) == asked, "a worker was bothered"


async def test_every_recorded_error_has_its_place_in_this_file():
    failed = {
        recording.name for recording in RECORDINGS.values() if recording.is_about_scores and recording.status != 200
    }
    locked = {recording.name for recording in LOCKED}
    assert failed == FORGIVEN.keys() | REFUSED.keys() | locked - {"auth_models_missing"}


async def test_a_get_says_which_method_is_served(client: httpx.AsyncClient):
    assert (await ask(client, RECORDINGS["http_get_rerank"])).headers["allow"] == "POST"


async def test_whoever_vllm_lets_in_with_a_key_is_let_in_and_nobody_else():
    """vLLM guards only paths below /v1 and /v2; the gateway guards every path that scores."""
    async with gateway(FakeVllm(), api_keys={"milvus": "sekret"}) as client:
        for name in ("auth_ok", "auth_ok_lowercase_bearer", "request_id_header_echo"):
            response = await ask(client, RECORDINGS[name])
            assert response.status_code == 200, (name, response.text)
        for recording in [
            *LOCKED,
            RECORDINGS["auth_not_required_rerank_plain"],
            RECORDINGS["auth_not_required_score"],
        ]:
            response = await ask(client, recording)
            assert response.status_code == 401, (recording.name, response.text)
            assert response.json()["error"]["type"] == "AuthenticationError"
            assert "Authorization: Bearer KEY" in response.json()["error"]["message"]


@pytest.mark.parametrize("name", ["rerank_x_request_id", "rerank_x_request_id_and_body", "request_id_header_echo"])
async def test_a_recorded_request_id_is_echoed_and_goes_on_to_the_worker(
    name: str, client: httpx.AsyncClient, worker: FakeVllm
):
    recording = RECORDINGS[name]
    response = await ask(client, recording)
    given = recording.headers["X-Request-Id"]
    assert response.headers["X-Request-Id"] == given
    assert worker.scored[-1].headers["x-request-id"].startswith(f"{given}-")
    # vLLM writes score-, and its clients treat the whole as an opaque text.
    assert response.json()["id"] == f"rerank-{given}"
    assert recording.answer["id"] == f"score-{given}"
