"""Long documents by passage, as clients of every dialect ask for them and read them."""

from typing import Any

import httpx
import pytest

from app.api.dialects import DIALECTS
from tests.fake_vllm import FakeVllm, score_of
from tests.running import gateway

QUERY = "which port"
LONG = " ".join(f"Sentence {number} has a name and six words more." for number in range(120))
# An emoji is one code point, two UTF-16 units, four bytes.
EMOJI = " ".join(f"Satz {number} über 👩 hat sechs Wörter mehr." for number in range(120))
DOCUMENTS = ["short", LONG, EMOJI]

# The dialects that can say which passage it was, with a request and where the rows of its answer stand.
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "vllm": ("/rerank", {"query": QUERY, "documents": DOCUMENTS}),
    "cohere1": ("/v1/rerank", {"query": QUERY, "documents": DOCUMENTS, "max_chunks_per_doc": 10}),
    "cohere2": ("/v2/rerank", {"query": QUERY, "documents": DOCUMENTS}),
    "tei": ("/rerank", {"query": QUERY, "texts": DOCUMENTS, "truncate": True}),
    "nvidia": ("/v1/ranking", {"query": QUERY, "passages": DOCUMENTS, "truncate": "END"}),
    "mixedbread": ("/v1/reranking", {"query": QUERY, "input": DOCUMENTS}),
    "ali": ("/rerank", {"input": {"query": QUERY, "documents": DOCUMENTS}}),
    "voyage": ("/rerank", {"query": QUERY, "documents": DOCUMENTS, "truncation": True}),
    "sglang": ("/rerank?dialect=sglang", {"query": QUERY, "documents": DOCUMENTS}),
    "infinity": ("/rerank?dialect=infinity", {"query": QUERY, "documents": DOCUMENTS}),
    "score": ("/score", {"text_1": QUERY, "text_2": DOCUMENTS}),
}
# Scores by position alone have no place for it.
PLACELESS = {"huggingface", "weaviate"}


def rows(answer: Any) -> list[dict[str, Any]]:
    """The rows of an answer of any dialect."""
    if isinstance(answer, list):
        return answer
    return next(answer[name] for name in ("results", "rankings", "data") if name in answer)


async def ask(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Any:
    response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json().get("output", response.json()) if isinstance(response.json(), dict) else response.json()


@pytest.mark.parametrize("dialect", BODIES)
async def test_every_dialect_with_rows_says_which_passage_of_the_clients_own_text_has_the_score(dialect: str):
    path, body = BODIES[dialect]
    async with gateway(FakeVllm(), long_documents="passages") as client:
        found = rows(await ask(client, path, body | {"return_passages": True}))
        plain = rows(await ask(client, path, body))
    assert all("passage" not in row for row in plain)
    assert [row["index"] for row in found] == [row["index"] for row in plain]
    for row in found:
        start, end = row["passage"]["start"], row["passage"]["end"]
        score = next(row[name] for name in ("relevance_score", "score", "logit") if name in row)
        assert score == pytest.approx(score_of(QUERY, DOCUMENTS[row["index"]][start:end]), abs=1e-9)
    whole = next(row for row in found if row["index"] == 0)
    assert whole["passage"] == {"start": 0, "end": len("short")}


def test_the_other_dialects_are_those_without_rows():
    assert {dialect.name for dialect in DIALECTS} == BODIES.keys() | PLACELESS


async def test_the_query_string_can_ask_for_passages_and_the_body_wins():
    path, body = "/rerank?long_documents=passages&return_passages=true", {"query": QUERY, "documents": [LONG]}
    worker = FakeVllm()
    async with gateway(worker) as client:
        answer = await ask(client, path, body)
        assert answer["results"][0]["passage"]["end"] > 0
        assert sum(len(call.documents) for call in worker.scored) > 1
        answer = await ask(client, path, body | {"long_documents": "truncate"})
        assert answer["results"][0]["passage"] == {"start": 0, "end": len(LONG)}
        assert "passages" not in answer["meta"]
        wrong = await client.post("/rerank?long_documents=chapters", json=body)
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "long_documents")
    assert "'truncate', 'error' or 'passages'" in wrong.json()["error"]["message"]


async def test_cohere1s_max_chunks_per_doc_lowers_the_number_of_passages_and_never_raises_it():
    async with gateway(FakeVllm(max_model_len=128), long_documents="passages") as client:
        made = {
            asked: (await ask(client, "/v1/rerank", {"query": QUERY, "documents": [LONG], "max_chunks_per_doc": asked}))
            for asked in (2, 1000)
        }
        wrong = await client.post("/v1/rerank", json={"query": QUERY, "documents": [LONG], "max_chunks_per_doc": 0})
    assert made[2]["meta"]["passages"] == {"documents": 1, "scored": 2, "dropped": pytest.approx(9, abs=3)}
    assert made[1000]["meta"]["passages"] == {"documents": 1, "scored": 10, "dropped": pytest.approx(2, abs=2)}
    assert wrong.status_code == 400


async def test_with_error_a_client_that_wants_its_texts_cut_has_them_truncated():
    worker = FakeVllm()
    async with gateway(worker, long_documents="error") as client:
        await ask(client, *BODIES["tei"])
    assert worker.scored[0].body["truncate_prompt_tokens"] == -1
    assert worker.scored[0].documents == DOCUMENTS


async def test_answer_and_metrics_count_passages():
    limits: dict[str, Any] = {"long_documents": "passages", "max_passages_per_document": 4}
    async with gateway(FakeVllm(max_model_len=128), **limits) as client:
        answer = await ask(client, "/rerank", {"query": QUERY, "documents": DOCUMENTS})
        counted = (await client.get("/metrics")).text
        described = (await client.get("/info")).json()
    told = answer["meta"]["passages"]
    dropped = told["dropped"]
    assert (told["documents"], told["scored"]) == (2, 8)
    assert dropped > 4
    assert "rerank_passages_total 8.0" in counted
    assert f"rerank_passages_dropped_total {dropped}.0" in counted
    assert described["auto_truncate"] is True
