"""What clients are told when a request can't be served, in the shape they look at."""

from typing import Any

import httpx
import pytest

from app.api import dialects
from tests.contract.asking import DOCUMENTS, OBJECT, ask
from tests.fake_vllm import FakeVllm
from tests.running import gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

MISSING = "documents: Field required"


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/rerank", {"detail": "TOLD"}),
        ("/api/rerank", {"detail": "TOLD"}),
        ("/score", {}),
        ("/v1/rerank", {"detail": "TOLD"}),
        ("/v1/score", {"detail": "TOLD"}),
        ("/v2/rerank", {"message": "TOLD"}),
    ],
)
async def test_each_path_has_the_error_where_its_clients_look(
    path: str, more: dict[str, str], client: httpx.AsyncClient
):
    response = await ask(client, path, query="q")
    told = "send text_1 and text_2, or queries and documents" if "score" in path else MISSING
    param = "text_1" if "score" in path else "documents"
    error = {"message": told, "type": "BadRequestError", "param": param, "code": 400}
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"error": error} | dict.fromkeys(more, told)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
@pytest.mark.parametrize(
    ("body", "status", "told", "kind"),
    [
        ({"texts": []}, 400, "texts: List should have at least 1 item after validation, not 0", "Validation"),
        ({"texts": ["a", 1]}, 400, "texts[1]: Input should be a valid string", "Validation"),
        (
            {"texts": ["a"], "model": "nope"},
            404,
            "The model `nope` does not exist here; there is tiny-reranker.",
            "Validation",
        ),
    ],
)
async def test_tei_has_an_error_shape_of_its_own_on_every_path(
    path: str, body: dict[str, Any], status: int, told: str, kind: str, client: httpx.AsyncClient
):
    response = await ask(client, path, query="q", **body)
    assert response.status_code == status
    assert response.json() == {"error": told, "error_type": kind}


async def test_errors_before_the_body_is_read_have_the_shape_the_query_string_asks_for(client: httpx.AsyncClient):
    response = await client.post("/rerank?dialect=tei", content=b"{")
    assert response.json().keys() == {"error", "error_type"}
    assert response.status_code == 400


async def test_a_top_n_in_the_query_string_is_refused_in_the_shape_of_the_body(client: httpx.AsyncClient):
    response = await ask(client, "/rerank?top_n=1", query="q", texts=DOCUMENTS)
    assert response.status_code == 400
    assert response.json() == {
        "error": "top_n can't be set in the query string: send it in the body",
        "error_type": "Validation",
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rerank", {"documents": ["a"]}),
        ("/v1/rerank", {"documents": ["a"]}),
        ("/v2/rerank", {"documents": ["a"]}),
        ("/rerank", {"documents": ["a"], "top_k": 1}),
        ("/rerank", {"documents": [{"text": "a"}], "rank_fields": ["text"]}),
        ("/rerank?dialect=sglang", {"documents": ["a"]}),
        ("/v1/score", {"queries": "q", "documents": ["a"]}),
    ],
    ids=["plain", "v1", "v2", "voyage", "cohere1", "sglang", "score"],
)
async def test_an_unknown_model_is_a_404_in_every_dialect(path: str, body: dict[str, Any], client: httpx.AsyncClient):
    response = await ask(client, path, query="q", model="nope", **body)
    assert response.status_code == 404
    assert response.json()["error"] == {
        "message": "The model `nope` does not exist here; there is tiny-reranker.",
        "type": "NotFoundError",
        "param": "model",
        "code": 404,
    }


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("/nothing", {"error"}),
        ("/v1/nothing", {"error", "detail"}),
        ("/v2/nothing", {"error", "message"}),
        ("/tei/nothing", {"error", "error_type"}),
    ],
)
async def test_a_path_that_leads_nowhere_is_a_404_that_names_it_the_ends_and_the_dialects(
    path: str, keys: set[str], client: httpx.AsyncClient
):
    response = await ask(client, path, query="q", documents=["a"])
    assert response.status_code == 404
    assert response.json().keys() == keys
    error = response.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert f"Nothing is at {path}: " in message
    assert "rerank, ranking, reranking, pipeline/sentence-similarity, score." in message
    assert all(f" {name}" in message for name in dialects.PREFIXES)
    assert "models/NAME" in message


async def test_a_path_that_leads_nowhere_is_named_as_it_came_and_cut(client: httpx.AsyncClient):
    response = await client.post("/nothing%0Aat%1b" + "x" * 3000)
    message = response.json()["error"]["message"]
    assert message.startswith("Nothing is at /nothing%0Aat%1bxxx")
    assert len(message) < 300


@pytest.mark.parametrize("path", ["/rerank", "/v1/v2/rerank", "/voyage/rerank", "/v1/ranking"])
async def test_another_method_on_a_path_that_scores_is_a_405(path: str, client: httpx.AsyncClient):
    for method in ("GET", "PUT"):
        response = await client.request(method, path)
        assert response.status_code == 405
        assert response.headers["allow"] == "POST"


async def test_no_message_has_300_characters(client: httpx.AsyncClient):
    names = [f"{number}-{'n' * 90}" for number in range(6)]
    async with gateway(*[FakeVllm(model=name) for name in names]) as many:
        response = await ask(many, "/rerank", query="q", documents=["a"], model="m" * 500)
        assert response.status_code == 404
        assert len(response.json()["error"]["message"]) == 299
        assert response.json()["detail"].endswith("...")
        assert len((await ask(many, "/rerank?dialect=no", query="q")).json()["detail"]) < 300
    assert (
        len((await ask(client, "/models/" + "m" * 500 + "/rerank", query="q", documents=["a"])).json()["detail"]) < 300
    )


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"documents": ["a", {"text": 5}]}, "documents[1]", "an object with other keys"),
        ({"documents": [{"content": []}]}, "documents[0].content", "send at least one part"),
        ({"documents": [{"content": [{"type": "text"}]}]}, "documents[0].content[0]", "text must be a string"),
        ({"documents": [{"image": "data:,"}]}, "documents[0].image", "send data:image/png;base64,..."),
        ({"documents": [{}]}, "documents[0]", 'send a string, {"text": "..."} or {"content": [...]}'),
        ({"documents": [["a"]]}, "documents[0]", "documents[0] is a list"),
        ({"documents": [True]}, "documents[0]", "documents[0] is true or false"),
        ({"documents": [OBJECT, 7], "rank_fields": ["title"]}, "documents[1]", "send a string or an object"),
        ({"documents": [OBJECT, None], "rank_fields": ["title"]}, "documents[1]", "send a string or an object"),
        ({"documents": [], "rank_fields": ["title"]}, "documents", "at least 1 item"),
        ({"documents": [], "top_k": 1}, "documents", "send at least one document"),
        ({"documents": ["a"], "top_k": -1}, "top_k", "greater than or equal to 0"),
        ({"documents": ["a"], "return_documents": "maybe"}, "return_documents", "valid boolean"),
        ({"documents": ["a"], "timeout_ms": 0}, "timeout_ms", "greater than 0"),
        ({"documents": ["a"], "instruction": 5}, "instruction", "valid string"),
        ({"documents": ["a"], "use_activation": "maybe"}, "use_activation", "valid boolean"),
        ({"documents": ["a"], "truncate_prompt_tokens": 10**100}, "truncate_prompt_tokens", "less than or equal to"),
    ],
)
async def test_the_field_at_fault_is_named(body: dict[str, Any], param: str, told: str, client: httpx.AsyncClient):
    response = await ask(client, "/rerank", query="q", **body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert told in response.json()["error"]["message"]
    assert len(response.json()["error"]["message"]) < 200


async def test_no_error_quotes_a_query_or_a_document(client: httpx.AsyncClient):
    secret = "the-secret-text"
    for body in (
        {"query": [secret], "documents": ["a"]},
        {"query": "q", "documents": [{secret: secret}]},
        {"query": "q", "documents": [{"text": {secret: secret}}]},
        {"query": {secret: secret}, "texts": [{secret: secret}]},
        {"text_1": {secret: secret}, "text_2": [{secret: secret}]},
        {"query": secret * 100_000, "documents": ["a"]},
        {"query": "q", "documents": [secret * 100_000]},
    ):
        for path in ("/rerank", "/v1/rerank", "/v2/rerank", "/score"):
            response = await ask(client, path, **body)
            assert response.status_code == 400
            assert secret not in response.text
    cut = await client.post(
        "/rerank", content=b'{"query": "' + secret.encode() + b'", "documents": ["' + secret.encode()
    )
    assert cut.status_code == 400
    assert secret not in cut.text
