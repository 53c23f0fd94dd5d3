"""The doctor at the workers: each fault is named with its fix."""

import asyncio
import ssl
from random import Random

import pytest
import trustme

from app.settings import Settings
from tests.fake_vllm import Call, FakeVllm, Fault, altered, hang, reply, status
from tests.listening import refusing_port
from tests.tools.conftest import Examine, by_beginning
from tests.tools.reading import levels, told

# What stands at the endpoint doesn't matter to the workers' checks.
NOBODY = "http://127.0.0.1:9"


async def test_a_worker_that_does_not_run_is_named(examine: Examine):
    with refusing_port() as port:
        seen = told(await examine(NOBODY, f"http://127.0.0.1:{port}"), "worker-answers", "red")
    assert f"127.0.0.1:{port} refused the connection" in seen
    assert "start vLLM there" in seen
    assert "RERANK_WORKERS" in seen


@pytest.mark.parametrize("key", [None, "wrong"])
async def test_a_wrong_worker_key_is_named_without_showing_it(key: str | None, examine: Examine):
    async with FakeVllm(api_key="sekret").running() as worker:
        found = await examine(NOBODY, worker.url, settings=Settings(worker_api_key=key))
    seen = told(found, "worker-answers", "red")
    assert "answered 401" in seen
    assert "RERANK_WORKER_API_KEY" in seen
    assert "sekret" not in seen
    assert key is None or f" {key} " not in seen


async def test_a_worker_that_hangs_while_it_says_that_it_is_well_is_red(examine: Examine):
    async with FakeVllm(always=hang).running() as worker:
        found = await examine(NOBODY, worker.url, settings=Settings(probe_timeout_s=0.3))
    assert levels(found)["worker-health"] == "green"
    seen = told(found, "worker-scores", "red")
    assert "gave no answer in 0.3 s" in seen
    assert "engine hangs" in seen


async def test_scores_of_a_worker_that_are_none_are_red(examine: Examine):
    def spoil(right: dict) -> None:  # type: ignore[type-arg] # decoded JSON
        right["data"][0]["score"] = "0.5"

    async with FakeVllm(always=altered(spoil)).running() as worker:
        found = await examine(NOBODY, worker.url)
    assert "a score that is no finite number" in told(found, "worker-scores", "red")


async def test_a_model_that_does_not_score_is_named_with_the_flag(examine: Examine):
    async with FakeVllm(always=status(400, "The model does not support Score API")).running() as worker:
        seen = told(await examine(NOBODY, worker.url), "worker-scores", "red")
    assert "does not support Score API" in seen
    assert "--runner pooling" in seen


def no_more_than(documents: int) -> Fault:
    """What `--max-num-queued-reqs` does."""

    async def fault(call: Call, writer: asyncio.StreamWriter) -> None:
        if len(call.documents) > documents:
            reply(writer, 503, {"error": {"message": "The engine is overloaded", "type": "Error", "code": 503}})
        else:
            await by_beginning(call, writer)

    return fault


async def test_a_queue_shorter_than_a_chunk_is_named(examine: Examine):
    async with FakeVllm(always=no_more_than(32)).running() as worker:
        found = await examine(NOBODY, worker.url)
        seen = told(found, "worker-queue", "yellow")
        assert "chunk of 64 documents" in seen
        assert "--max-num-queued-reqs" in seen
        smaller = await examine(NOBODY, worker.url, settings=Settings(max_batch=32))
        assert levels(smaller)["worker-queue"] == "green"


async def test_a_worker_without_a_score_route_is_yellow_and_still_examined(examine: Examine):
    async with FakeVllm(has_score_route=False, always=by_beginning).running() as worker:
        found = await examine(NOBODY, worker.url)
    assert "update vLLM" in told(found, "worker-score-route", "yellow")
    assert levels(found)["worker-scores"] == "green"


async def without_head(call: Call, writer: asyncio.StreamWriter) -> None:
    """Score alike whatever the text."""
    rows = [{"index": place, "score": 0.5} for place in range(len(call.documents))]
    reply(writer, 200, {"data": rows, "usage": {"total_tokens": 1}})


async def by_end(call: Call, writer: asyncio.StreamWriter) -> None:
    """Score at the last token, which a cut takes away: what a model behind a chat template does."""
    if "truncate_prompt_tokens" in call.body:
        await without_head(call, writer)
    else:
        await by_beginning(call, writer)


async def test_a_model_that_is_served_wrongly_is_yellow_with_the_option_to_add(examine: Examine):
    async with FakeVllm(model="qwen3-reranker", always=without_head).running() as worker:
        seen = told(await examine(NOBODY, worker.url), "worker-ranking", "yellow")
    assert "qwen3-reranker on" in seen
    assert "all texts score alike" in seen
    assert "--chat-template qwen3_reranker.jinja" in seen


async def test_a_model_behind_a_chat_template_is_told_by_its_scores_of_cut_texts(examine: Examine):
    async with FakeVllm(model="qwen3-reranker", always=by_end).running() as worker:
        (ranking,) = [one for one in await examine(NOBODY, worker.url) if one.id == "worker-ranking"]
        assert (ranking.level, ranking.seen.endswith("looks like: template")) == ("green", True)
        wrong = Settings(models={"qwen3-reranker": {"truncation": "pair"}})
        seen = told(await examine(NOBODY, worker.url, settings=wrong), "worker-ranking", "yellow")
    assert """RERANK_MODELS='{"qwen3-reranker": {"truncation": "document"}}'""" in seen


async def test_an_old_release_is_yellow(examine: Examine, healthy: FakeVllm):
    healthy.version = "0.8.5"
    async with healthy.running():
        assert "update vLLM" in told(await examine(NOBODY, healthy.url), "worker-version", "yellow")


@pytest.mark.parametrize(
    ("differing", "words"),
    [
        ({"root": "/models/other"}, "root (/models/other, /models/tiny-reranker)"),
        ({"max_model_len": 1024}, "max_model_len (1024, 512)"),
        ({"version": "0.33.0"}, "version (0.32.0, 0.33.0)"),
    ],
)
async def test_workers_of_one_name_that_differ_are_named(
    differing: dict[str, object], words: str, examine: Examine, healthy: FakeVllm
):
    other = FakeVllm(always=by_beginning, **differing)  # type: ignore[arg-type] # one of several fields
    async with healthy.running(), other.running():
        found = await examine(NOBODY, healthy.url, other.url)
    assert words in told(found, "workers-agree", "yellow")


def moved(by: float) -> Fault:
    """Scores somewhere else."""

    async def fault(call: Call, writer: asyncio.StreamWriter) -> None:
        rng = Random(7)
        rows = [{"index": place, "score": 0.4 + by + rng.random() / 9} for place in range(len(call.documents))]
        reply(writer, 200, {"data": rows, "usage": {"total_tokens": 1}})

    return fault


@pytest.mark.parametrize(
    ("by", "words"), [(0.0, None), (0.0001, None), (0.02, "--dtype"), (0.3, "the same weights and --revision")]
)
async def test_other_precision_is_told_from_other_weights(by: float, words: str | None, examine: Examine):
    async with FakeVllm(always=moved(0)).running() as one, FakeVllm(always=moved(by)).running() as other:
        found = await examine(NOBODY, one.url, other.url)
    if words:
        assert words in told(found, "workers-scores", "yellow")
    else:
        assert levels(found)["workers-scores"] == "green"


async def test_a_worker_with_a_certificate_nobody_trusts_is_named(examine: Examine, healthy: FakeVllm):
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(serving)
    async with healthy.running(tls=serving):
        assert "RERANK_WORKER_CA_FILE" in told(await examine(NOBODY, healthy.url), "worker-answers", "red")


async def test_a_worker_whose_server_is_something_else_is_named(examine: Examine):
    class Page(FakeVllm):
        async def _answer(self, _: Call, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reply(writer, 200, b"<html>")

    async with Page().running() as page:
        assert "answered with something that is not JSON" in told(
            await examine(NOBODY, page.url), "worker-answers", "red"
        )


async def test_workers_behind_a_name_are_found_and_examined(examine: Examine, healthy: FakeVllm):
    async with healthy.running():
        port = healthy.url.rpartition(":")[2]
        found = await examine(NOBODY, f"dns://localhost:{port}", "lexical://")
    assert healthy.url.removeprefix("http://") in "".join(one.seen for one in found if one.id == "worker-scores")


async def test_where_workers_can_not_be_looked_for_is_said_with_why(examine: Examine):
    found = await examine(NOBODY, "dns://no-such-host.invalid:8000")
    assert "dns://no-such-host.invalid:8000" in told(found, "workers-found", "yellow")
    found = await examine(NOBODY, "kubernetes://models/vllm:8000")
    seen = told(found, "workers-found", "yellow")
    assert "kubernetes://models/vllm:8000" in seen
    assert "run it where the gateway runs" in seen
