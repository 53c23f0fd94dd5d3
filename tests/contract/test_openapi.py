"""The API's own description: what fits it and what doesn't are both answered as it says."""

import re
from typing import Any

import httpx
import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.api import dialects
from app.api.dialects import ROUTES
from app.errors import BadInput, RerankError
from tests.fake_vllm import FakeVllm
from tests.running import gateway

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def described(url: str) -> Any:
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_to_a_request_is_described(path: str, mode: schemathesis.GenerationMode, described: Any):
    seen = statuses_of(described[path]["POST"], mode)
    assert seen <= {200, 400, 404, 415}
    assert (200 if mode is schemathesis.GenerationMode.POSITIVE else 400) in seen


@pytest.mark.parametrize("path", ["/v1/models", "/livez", "/readyz", "/health", "/version", "/metrics"])
def test_every_answer_about_the_gateway_is_described(path: str, described: Any):
    assert statuses_of(described[path]["GET"], schemathesis.GenerationMode.POSITIVE) == {200}


@pytest.mark.parametrize("path", ["/info", "/v1/models/{name}"])
def test_every_answer_about_a_model_is_described(path: str, described: Any):
    assert statuses_of(described[path]["GET"], schemathesis.GenerationMode.POSITIVE) <= {200, 404}


@pytest.mark.parametrize("path", ["/admin/workers", "/admin/cache", "/admin/settings", "/admin/stats"])
def test_every_answer_to_an_operator_is_described(path: str, described: Any):
    assert statuses_of(described[path]["GET"], schemathesis.GenerationMode.POSITIVE) == {200}


@pytest.mark.parametrize("path", ["/admin/workers/drain", "/admin/workers/undrain", "/admin/cache/flush"])
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_to_what_an_operator_wants_is_described(
    path: str, mode: schemathesis.GenerationMode, described: Any
):
    seen = statuses_of(described[path]["POST"], mode)
    assert seen <= {400, 404, 415}
    assert (404 if mode is schemathesis.GenerationMode.POSITIVE else 400) in seen


def statuses_of(operation: Any, mode: schemathesis.GenerationMode) -> set[int]:
    """Call an operation in many ways and check each answer against its description."""
    seen = set()

    @settings(max_examples=50, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def is_as_described(case: schemathesis.Case[Any]) -> None:
        if isinstance(case.body, dict):
            # A limit of 1 ms may or may not end in a 504.
            case.body.pop("timeout_ms", None)
        if mode is schemathesis.GenerationMode.POSITIVE:
            # A body of another dialect than the one that is asked for is a 400.
            (case.query or {}).pop("dialect", None)
        seen.add(case.call_and_validate(checks=CHECKS).status_code)

    is_as_described()
    return seen


def test_every_route_that_scores_is_described_with_an_example_that_works(url: str):
    described = httpx.get(f"{url}/openapi.json").json()["paths"]
    for path in ROUTES:
        for example in described[path]["post"]["requestBody"]["content"]["application/json"]["examples"].values():
            response = httpx.post(url + path, json=example["value"])
            assert response.status_code == 200, (path, example["value"], response.text)


@pytest.mark.parametrize("path", ROUTES)
def test_every_error_a_client_can_be_told_is_described(path: str, url: str):
    described = httpx.get(f"{url}/openapi.json").json()["paths"][path]["post"]["responses"]
    # A wrong method is no answer of this operation, and a bug of ours is no answer to plan for.
    told = {str(error.status) for error in RerankError.__subclasses__()} - {"405", "500"}
    assert described.keys() == told | {"200"}


def test_the_dialects_that_are_described_are_those_there_are(url: str):
    parameters = httpx.get(f"{url}/openapi.json").json()["paths"]["/rerank"]["post"]["parameters"]
    named = next(parameter for parameter in parameters if parameter["name"] == "dialect")["schema"]["enum"]
    with pytest.raises(BadInput, match="dialect must be one of " + ", ".join(sorted(named)) + "$"):
        dialects.detect("/rerank", "unknown", {})


def test_a_gateway_with_keys_describes_its_refusals():
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(gateway(FakeVllm(), api_keys="a:b")) as client,
    ):
        described = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
        for path, method in (("/v1/models", "GET"), ("/v1/rerank", "POST"), ("/rerank", "POST")):
            assert statuses_of(described[path][method], schemathesis.GenerationMode.POSITIVE) == {401}


def test_the_documentation_page_loads_nothing_from_elsewhere(url: str):
    page = httpx.get(f"{url}/docs")
    assert page.status_code == 200
    assets = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)""", page.text)
    assert len(assets) >= 4
    assert all(asset.startswith("/") and not asset.startswith("//") for asset in assets), assets
    assert "://" not in page.text
    for asset in assets:
        loaded = httpx.get(url + asset)
        assert loaded.status_code == 200, asset
        assert loaded.content
    styles = httpx.get(url + next(asset for asset in assets if asset.endswith(".css"))).text
    assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", styles)
