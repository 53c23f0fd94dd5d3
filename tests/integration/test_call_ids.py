"""Calls to workers, as they come over real sockets: each has an id of its own."""

import asyncio
from typing import Any

import pytest

from tests.fake_vllm import Call, FakeVllm, Fault, reset, status
from tests.running import gateway

SAME_ID = {"X-Request-Id": "search-1"}


def ids_of(*workers: FakeVllm) -> list[str]:
    return [call.headers["x-request-id"] for worker in workers for call in worker.calls if call.method == "POST"]


def refuses(document: str) -> Fault:
    """Object to calls with one document, and to no others."""

    async def fault(call: Call, writer: asyncio.StreamWriter) -> None:
        await (status(400) if document in call.documents else status(500))(call, writer)

    return fault


async def test_no_two_calls_have_one_id_though_requests_do():
    one, other = FakeVllm(per_document_s=0.001, max_model_len=64), FakeVllm(per_document_s=0.001, max_model_len=64)
    one.faults.extend([status(500), reset, status(400), reset])
    documents = [f"document {number}" for number in range(24)]

    async def ask(query: str, **more: Any) -> int:
        body = {"query": query, "documents": documents} | more
        return (await client.post("/rerank", json=body, headers=SAME_ID)).status_code

    async with gateway(one, other, max_batch=8, min_batch=1, probe_interval_s=0.05, hedge=True) as client:
        # Long queries are counted by a worker.
        answers = await asyncio.gather(*[ask("wind " * length) for length in (1, 2, 30, 30, 3)])
        answers += await asyncio.gather(*[ask("sun " * length) for length in (1, 2, 30)])
        one.always = other.always = refuses(documents[3])
        answers += [await ask("a document at fault is halved out", documents=[documents[3]] * 2 + documents[:2])]
        await asyncio.sleep(0.2)
    assert set(answers[:-1]) == {200}
    ids = ids_of(one, other)
    assert any(call.path == "/tokenize" for worker in (one, other) for call in worker.calls)
    assert {call_id.rpartition("-")[0].partition("-")[0] for call_id in ids} == {"search", "probe", "check"}
    assert len(ids) == len(set(ids)) > 50


@pytest.mark.parametrize("fault", [None, reset])
async def test_a_call_that_is_sent_again_has_another_id(fault: Fault | None):
    # For want of a route, or of a kept connection that still was one.
    worker = FakeVllm(has_score_route=bool(fault))
    async with gateway(worker, probe_interval_s=1000) as client:
        for _ in range(2):
            await client.post("/rerank", json={"query": "q", "documents": ["a"]}, headers=SAME_ID)
            worker.faults.extend([fault] if fault else [])
    ids = [call_id for call_id in ids_of(worker) if not call_id.startswith("check-")]
    assert len(ids) == len(set(ids)) == 4, "one of a probe, and one more for what was sent again"
