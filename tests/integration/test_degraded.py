"""What clients are told, over real sockets, when scores are not quite what they asked for."""

from tests.fake_vllm import Call, FakeVllm, answer_to, reply, score_of, status
from tests.running import gateway, rerank


def _nowhere() -> FakeVllm:
    """A worker at an address where nobody listens."""
    return FakeVllm(url="http://127.0.0.1:9")


async def test_degraded_scores_are_marked_in_the_answer_and_its_headers():
    async with gateway(_nowhere(), fallback="lexical", no_worker_wait_s=0.1) as client:
        response = await rerank(client, ["nothing", "a q"])
    assert response.status_code == 200
    assert response.headers["X-Rerank-Degraded"] == response.json()["meta"]["degraded"] == "lexical"
    assert [row["index"] for row in response.json()["results"]] == [1, 0]


async def test_a_client_that_denies_degraded_scores_gets_the_503():
    async with gateway(_nowhere(), fallback="lexical", no_worker_wait_s=0.1) as client:
        body = {"query": "q", "documents": ["a"]}
        response = await client.post("/rerank", json=body, headers={"X-Rerank-Degraded": "deny"})
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1


async def test_scores_of_workers_carry_no_mark():
    async with gateway(FakeVllm(), fallback="lexical") as client:
        response = await rerank(client, ["a"])
    assert "X-Rerank-Degraded" not in response.headers
    assert "degraded" not in response.json()["meta"]


async def test_a_document_that_got_the_lowest_score_is_told_of():
    async def refuse_poison(call: Call, writer) -> None:
        if "poison" in call.documents:
            await status(400, "the prompt is too long")(call, writer)
        else:
            reply(writer, 200, answer_to(call))

    async with gateway(FakeVllm(always=refuse_poison), document_errors="lowest") as client:
        response = await rerank(client, ["a", "poison", "b"])
    assert response.status_code == 200
    scores = {row["index"]: row["relevance_score"] for row in response.json()["results"]}
    assert scores[1] == min(score_of("q", "a"), score_of("q", "b"))
    (warning,) = response.json()["meta"]["warnings"]
    assert warning.startswith("documents[1] has the lowest score")
