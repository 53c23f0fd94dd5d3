"""Where a request's fields come from, and which of them go on to the worker."""

from typing import Any

import httpx
import pytest

from app.api import dialects
from app.api.dialects.base import Dialect
from tests.contract.asking import BEST, DOCUMENTS, answer_of, ask
from tests.fake_vllm import FakeVllm
from tests.running import gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_query_parameters_are_defaults_for_body_fields(client: httpx.AsyncClient, worker: FakeVllm):
    path = "/rerank?truncate_prompt_tokens=64&max_tokens_per_doc=32"
    await answer_of(client, path, query="q", documents=DOCUMENTS)
    assert {"truncate_prompt_tokens": 64, "max_tokens_per_doc": 32}.items() <= worker.scored[-1].body.items()


async def test_the_body_wins_over_the_query_string(client: httpx.AsyncClient, worker: FakeVllm):
    path = "/v1/rerank?truncate_prompt_tokens=64&max_tokens_per_doc=32&return_documents=true&model=nope"
    answer = await answer_of(
        client,
        path,
        query="q",
        documents=DOCUMENTS,
        truncate_prompt_tokens=65,
        max_tokens_per_doc=33,
        return_documents=False,
        model="tiny-reranker",
    )
    assert {"truncate_prompt_tokens": 65, "max_tokens_per_doc": 33}.items() <= worker.scored[-1].body.items()
    assert "document" not in answer["results"][0]


async def test_a_null_in_the_body_leaves_the_word_to_the_query_string(client: httpx.AsyncClient, worker: FakeVllm):
    await answer_of(client, "/rerank?max_tokens_per_doc=32", query="q", documents=DOCUMENTS, max_tokens_per_doc=None)
    assert worker.scored[-1].body["max_tokens_per_doc"] == 32


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ("truncate_prompt_tokens=many", "truncate_prompt_tokens"),
        ("truncate_prompt_tokens=0", "truncate_prompt_tokens"),
        ("truncate_prompt_tokens=513", "truncate_prompt_tokens"),
        ("max_tokens_per_doc=-1", "max_tokens_per_doc"),
        ("return_documents=maybe", "return_documents"),
        ("timeout_ms=soon", "timeout_ms"),
        ("timeout_ms=0", "timeout_ms"),
        ("model=nope", "model"),
    ],
)
async def test_a_wrong_value_in_the_query_string_is_named(given: str, param: str, client: httpx.AsyncClient):
    response = await ask(client, f"/rerank?{given}", query="q", documents=DOCUMENTS)
    assert response.status_code in {400, 404}
    assert response.json()["error"]["param"] == param


async def test_what_is_not_known_is_ignored(client: httpx.AsyncClient, worker: FakeVllm):
    path = "/v1/rerank?user=u1&color=off&api_key=secret&query=other&documents=other&use_activation=false"
    answer = await answer_of(
        client, path, query="q", documents=DOCUMENTS, user="u1", foo={"bar": 1}, top_p=3, softmax=False, priority=2**70
    )
    assert [row["index"] for row in answer["results"]] == BEST
    sent = {"model", "text_1", "text_2", "truncate_prompt_tokens"}
    assert worker.scored[-1].body.keys() == sent


async def test_scoring_fields_go_on_to_the_worker_as_they_were_sent(client: httpx.AsyncClient, worker: FakeVllm):
    fields = {
        "truncate_prompt_tokens": 100,
        "truncation_side": "left",
        "max_tokens_per_query": 20,
        "max_tokens_per_doc": 30,
        "use_activation": False,
        "instruction": "find docs",
    }
    for path in ("/rerank", "/v2/rerank", "/score"):
        await answer_of(client, path, query="q", queries="q", documents=DOCUMENTS, **fields)
        sent = worker.scored[-1].body
        assert {name: sent[name] for name in fields} == fields
        assert sent.keys() - fields.keys() == {"model", "text_1", "text_2"}


@pytest.mark.parametrize("limit", [0, 512, 4096])
async def test_a_limit_that_limits_nothing_is_dropped(limit: int, client: httpx.AsyncClient, worker: FakeVllm):
    await answer_of(
        client, "/v2/rerank", query="q", documents=DOCUMENTS, max_tokens_per_doc=limit, max_tokens_per_query=limit
    )
    assert worker.scored[-1].body.keys() == {"model", "text_1", "text_2", "truncate_prompt_tokens"}
    assert worker.scored[-1].body["truncate_prompt_tokens"] == -1


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ({"texts": ["a"]}, {"truncate_prompt_tokens": -1}),
        ({"texts": ["a"], "truncate": True}, {"truncate_prompt_tokens": -1}),
        ({"texts": ["a"], "truncate": False}, {}),
        ({"texts": ["a"], "raw_scores": True}, {"truncate_prompt_tokens": -1, "use_activation": False}),
        ({"texts": ["a"], "raw_scores": False}, {"truncate_prompt_tokens": -1}),
        (
            {"texts": ["a"], "truncate": True, "truncation_direction": "Left"},
            {"truncate_prompt_tokens": -1, "truncation_side": "left"},
        ),
        (
            {"texts": ["a"], "truncation_direction": "Right"},
            {"truncate_prompt_tokens": -1, "truncation_side": "right"},
        ),
        ({"documents": ["a"], "top_k": 1, "truncation": True}, {"truncate_prompt_tokens": -1}),
        ({"documents": ["a"], "top_k": 1, "truncation": False}, {}),
        ({"documents": ["a"], "top_k": 1}, {"truncate_prompt_tokens": -1}),
    ],
)
async def test_teis_and_voyages_own_fields_become_vllms(
    body: dict[str, Any], sent: dict[str, Any], client: httpx.AsyncClient, worker: FakeVllm
):
    await answer_of(client, "/rerank", query="q", **body)
    call = worker.scored[-1].body
    assert {name: call[name] for name in call.keys() - {"model", "text_1", "text_2"}} == sent


async def test_fields_that_the_settings_list_go_on_and_no_other():
    worker = FakeVllm()
    async with gateway(worker, forward_fields="priority, chat_template_kwargs") as client:
        more = {
            "priority": -1,
            "chat_template_kwargs": {"deep": [1, {"x": None}]},
            "mm_processor_kwargs": {},
            "user": "u",
        }
        await answer_of(client, "/rerank", query="q", documents=["a"], **more)
        sent = worker.scored[-1].body
        await answer_of(client, "/rerank", query="q", documents=["a"], priority=None)
        assert "priority" not in worker.scored[-1].body
        refused = await ask(client, "/rerank", query="q", documents=["a"], priority=2**70)
    assert sent.keys() == {"model", "text_1", "text_2", "truncate_prompt_tokens", "priority", "chat_template_kwargs"}
    assert sent["priority"] == -1
    assert sent["chat_template_kwargs"] == {"deep": [1, {"x": None}]}
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "priority"


@pytest.mark.parametrize("dialect", dialects.DIALECTS, ids=lambda dialect: dialect.name)
async def test_every_dialect_takes_an_instruction_in_the_query_string(
    dialect: Dialect, client: httpx.AsyncClient, worker: FakeVllm
):
    route = dialect.routes[-1] if dialect.routes else "/rerank"
    path = f"{route}?model=tiny-reranker&instruction=find%20laws%20f%C3%BCr%20sea+and+shore"
    if not dialect.routes:
        path += f"&dialect={dialect.name}"
    assert (await client.post(path, json=dialect.example)).status_code == 200
    assert worker.scored[-1].body["instruction"] == "find laws für sea and shore"


async def test_the_bodys_instruction_wins_over_the_query_strings_even_when_it_is_empty(
    client: httpx.AsyncClient, worker: FakeVllm
):
    for own in ("find cures", ""):
        await answer_of(client, "/rerank?instruction=find+laws", query="q", documents=DOCUMENTS, instruction=own)
        assert worker.scored[-1].body["instruction"] == own


async def test_a_model_that_reads_no_instruction_refuses_one_and_says_what_to_do():
    async with gateway(FakeVllm(), models={"tiny-reranker": {"kind": "cross_encoder"}}) as client:
        response = await ask(client, "/rerank?instruction=find+laws", query="q", documents=DOCUMENTS)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "instruction"
    assert "leave it out" in response.json()["error"]["message"]
