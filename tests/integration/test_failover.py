"""What goes wrong with workers, over real sockets: the client sees nothing of it."""

import asyncio
import math
from typing import Any

import pytest

from tests.fake_vllm import FakeVllm, Fault, altered, half, reset, score_of, status
from tests.running import gateway, rerank

DOCUMENTS = [f"document {number}" for number in range(100)]


def _is_right(results: list[dict[str, Any]], documents: list[str]) -> bool:
    right = sorted(range(len(documents)), key=lambda index: -score_of("q", documents[index]))
    return [row["index"] for row in results] == right and all(
        row["relevance_score"] == score_of("q", documents[row["index"]]) for row in results
    )


FAULTS: dict[str, Fault] = {
    "reset": reset,
    "half": half,
    "500": status(500),
    "502": status(502),
    "503": status(503),
    "429": status(429, Retry_After="1"),
    "unauthorized": status(401),
    "too few": altered(lambda right: right["data"].pop() and None),
    "too many": altered(lambda right: right["data"].append({"index": 99, "score": 0.5})),
    "repeated index": altered(lambda right: right["data"][0].update(index=1)),
    "index out of range": altered(lambda right: right["data"][0].update(index=1000)),
    "index as text": altered(lambda right: right["data"][0].update(index="0")),
    "null score": altered(lambda right: right["data"][0].update(score=None)),
    "text score": altered(lambda right: right["data"][0].update(score="0.5")),
    "NaN score": altered(lambda right: right["data"][0].update(score=math.nan)),
    "infinite score": altered(lambda right: right["data"][0].update(score=math.inf)),
    "score missing": altered(lambda right: right["data"][0].pop("score") and None),
    "no data": altered(lambda _: {}),
    "a list": altered(lambda _: []),
    "not JSON": altered(lambda _: b"<html>"),
    "NaN told as 400": status(400, "Out of range float values are not JSON compliant: nan"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_a_failing_worker_costs_no_request(fault: Fault):
    broken, good = FakeVllm(always=fault), FakeVllm()
    async with gateway(broken, good) as client:
        response = await rerank(client, DOCUMENTS)
    assert response.status_code == 200, response.text
    assert _is_right(response.json()["results"], DOCUMENTS)


async def test_a_killed_worker_in_the_middle_costs_no_request():
    dying, good = FakeVllm(delay_s=0.05), FakeVllm(delay_s=0.05)
    async with gateway(dying, good, max_batch=4, min_batch=1) as client:
        asked = [asyncio.create_task(rerank(client, DOCUMENTS)) for _ in range(4)]
        await asyncio.sleep(0.08)
        dying.always = reset
        answers = await asyncio.gather(*asked)
    assert [answer.status_code for answer in answers] == [200] * 4
    assert all(_is_right(answer.json()["results"], DOCUMENTS) for answer in answers)
    assert dying.scored


PAIRS = {"text_1": [f"query {number}" for number in range(20)], "text_2": DOCUMENTS[:20]}


async def test_pairs_that_only_some_workers_have_a_route_for_go_there_and_take_none_out_of_use():
    old, new = FakeVllm(has_score_route=False), FakeVllm()
    async with gateway(old, new, max_batch=4, min_batch=1) as client:
        for _ in range(5):
            response = await client.post("/score", json=PAIRS)
            assert response.status_code == 200, response.text
            assert [row["score"] for row in response.json()["data"]] == list(
                map(score_of, PAIRS["text_1"], PAIRS["text_2"])
            )
        assert not [call for call in old.scored if call.path == "/v1/rerank"]
        assert (await rerank(client, DOCUMENTS)).status_code == 200
    assert [call for call in old.scored if call.path == "/v1/rerank"], "it was given what it has a route for"


async def test_pairs_that_no_worker_has_a_route_for_are_refused_with_what_to_do_and_hurt_nobody_else():
    workers = FakeVllm(has_score_route=False), FakeVllm(has_score_route=False)
    async with gateway(*workers, no_worker_wait_s=0) as client:
        for _ in range(3):
            refused, others = await asyncio.gather(client.post("/score", json=PAIRS), rerank(client, DOCUMENTS))
            assert refused.status_code == 502, refused.text
            assert "has no /v1/score, which pairs with different queries need: update" in refused.text
            assert others.status_code == 200, others.text
    assert all(call.path == "/v1/rerank" for worker in workers for call in worker.scored[2:])
