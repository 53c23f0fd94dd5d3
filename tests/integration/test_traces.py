"""Traces, from the client's header to the collector and to the workers, over real sockets."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from itertools import count
from time import perf_counter

import httpx
import pytest

from tests.awake import awake_clock
from tests.fake_vllm import Call, FakeVllm, altered, hang, reset, status
from tests.integration.commands import Finished, free_port, run, running
from tests.otlp import Collector, Exported, collecting
from tests.running import gateway, rerank
from tests.waiting import until

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
DOCUMENTS = ["Paris", "Rome", "Oslo", "Bern"]

# Batches fail one after another, and the queue overflows meanwhile.
HASTE = {
    "OTEL_EXPORTER_OTLP_TIMEOUT": "0.1",
    "OTEL_BSP_SCHEDULE_DELAY": "10",
    "OTEL_BSP_MAX_QUEUE_SIZE": "16",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8",
}
EXPECTED = {"request", "worker_changed", "serving", "draining", "stopped"}


@pytest.fixture(autouse=True)
def _no_telemetry_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """Where the gateways of a test send their spans: all of them, at the latest when they stop."""
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where connections are accepted, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


async def traced(client: httpx.AsyncClient, *documents: str, **headers: str) -> httpx.Response:
    """A request with headers of its own, written with underscores."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/rerank", json={"query": "q", "documents": documents or DOCUMENTS}, headers=given)


def the(spans: list[Exported]) -> Exported:
    (one,) = spans
    return one


def kinds(spans: list[Exported]) -> list[str]:
    return [span.attributes["rerank.attempt.kind"] for span in spans]


def port_of(worker: FakeVllm) -> int:
    return int(worker.url.rpartition(":")[2])


async def test_a_request_is_a_span_over_its_chunks_over_their_attempts(collector: Collector):
    worker = FakeVllm()
    async with gateway(worker, traces=True, max_batch=2, min_batch=1) as client:
        await traced(client)
    request = the(collector.named("POST /rerank"))
    assert (request.kind, request.above, request.has_failed) == ("SERVER", "", False)
    chunks = collector.below(request)
    assert [(chunk.name, chunk.kind) for chunk in chunks] == [("chunk", "INTERNAL")] * 2
    attempts = [the(collector.below(chunk)) for chunk in chunks]
    assert [(attempt.name, attempt.kind) for attempt in attempts] == [("POST /v1/score", "CLIENT")] * 2
    assert len(collector.spans) == 5
    assert {span.service for span in collector.spans} == {"rerank-gateway"}


async def test_spans_say_what_was_asked_of_whom_and_what_came_of_it(collector: Collector):
    worker = FakeVllm()
    async with gateway(worker, traces=True) as client:
        port = client.base_url.port
        await traced(client)
    request = the(collector.named("POST /rerank"))
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/rerank",
        "http.response.status_code": 200,
        "url.path": "/rerank",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "127.0.0.1",
        "server.port": port,
        "rerank.dialect": "vllm",
        "rerank.model": "tiny-reranker",
        "rerank.documents": 4,
        "rerank.cache_hits": 0,
        "rerank.coalesced": 0,
    }
    chunk = the(collector.below(request))
    assert chunk.attributes.keys() == {"rerank.documents", "rerank.tokens"}
    assert chunk.attributes["rerank.documents"] == 4
    assert chunk.attributes["rerank.tokens"] > 4
    assert the(collector.below(chunk)).attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "url.full": f"{worker.url}/v1/score",
        "server.address": "127.0.0.1",
        "server.port": port_of(worker),
        "rerank.attempt.kind": "first",
    }


async def test_a_clients_trace_goes_on_through_the_gateway_to_the_worker(collector: Collector):
    worker = FakeVllm()
    async with gateway(worker, traces=True) as client:
        await traced(client, traceparent=SAMPLED, tracestate="vendor=1")
    request, attempt = the(collector.named("POST /rerank")), the(collector.named("POST /v1/score"))
    assert (request.trace, request.above) == (TRACE, PARENT)
    sent = the_call(worker).headers
    assert sent["traceparent"] == f"00-{TRACE}-{attempt.id}-01"
    assert sent["tracestate"] == "vendor=1"


async def test_without_a_trace_from_the_client_every_request_begins_its_own(collector: Collector):
    worker = FakeVllm()
    async with gateway(worker, traces=True) as client:
        await traced(client)
        await traced(client, traceparent="nonsense")
    assert [request.above for request in collector.named("POST /rerank")] == ["", ""]
    sent = [call.headers["traceparent"].split("-") for call in worker.scored]
    assert [(trace, above) for _, trace, above, _ in sent] == [
        (attempt.trace, attempt.id) for attempt in collector.named("POST /v1/score")
    ]
    assert len({trace for _, trace, _, _ in sent}) == 2


async def test_a_retry_stands_beside_the_attempt_that_failed(collector: Collector):
    calls = count()

    async def first_call_fails(call: Call, writer: asyncio.StreamWriter) -> None:
        await (altered(lambda _: None) if next(calls) else status(500))(call, writer)

    workers = [FakeVllm(always=first_call_fails), FakeVllm(always=first_call_fails)]
    async with gateway(*workers, traces=True) as client:
        assert (await traced(client)).status_code == 200
    request = the(collector.named("POST /rerank"))
    chunk = the(collector.below(request))
    failed, retried = collector.below(chunk)
    assert kinds([failed, retried]) == ["first", "retry"]
    assert (failed.has_failed, failed.attributes["error.type"]) == (True, "unavailable")
    assert failed.attributes["http.response.status_code"] == 500
    ports = [failed.attributes["server.port"], retried.attributes["server.port"]]
    assert sorted(ports) == sorted(port_of(worker) for worker in workers)
    assert not any(span.has_failed for span in (retried, chunk, request))


async def test_an_attempt_without_an_answer_has_no_status(collector: Collector):
    async with gateway(FakeVllm(always=reset), traces=True, max_attempts=1, no_worker_wait_s=0.1) as client:
        assert (await traced(client)).status_code == 503
    attempt = collector.named("POST /v1/score")[0]
    assert (attempt.has_failed, attempt.attributes["error.type"]) == (True, "closed_before_response")
    assert "http.response.status_code" not in attempt.attributes


async def test_a_hedge_stands_beside_the_attempt_that_it_overtakes(collector: Collector):
    calls = count()

    async def first_call_hangs(call: Call, writer: asyncio.StreamWriter) -> None:
        await (altered(lambda _: None) if next(calls) else hang)(call, writer)

    workers = [FakeVllm(), FakeVllm()]
    async with gateway(*workers, traces=True, hedge=True) as client:
        # So many that it is known how long a call usually takes.
        for _ in range(20):
            await traced(client)
        for worker in workers:
            worker.always = first_call_hangs
        assert (await traced(client)).status_code == 200
    attempts = collector.below(the(collector.below(collector.named("POST /rerank")[-1])))
    overtaken, hedge = sorted(attempts, key=lambda span: span.attributes["rerank.attempt.kind"])
    assert kinds([overtaken, hedge]) == ["first", "hedge"]
    assert (overtaken.attributes["rerank.cancelled"], overtaken.has_failed) == (True, False)
    assert "rerank.cancelled" not in hedge.attributes


async def test_halves_of_a_chunk_stand_beside_it_without_failing(collector: Collector):
    async def refuse_the_bad(call: Call, writer: asyncio.StreamWriter) -> None:
        await (status(400) if "bad" in call.documents else altered(lambda _: None))(call, writer)

    async with gateway(FakeVllm(always=refuse_the_bad), traces=True, document_errors="lowest") as client:
        assert (await traced(client, "good", "bad")).status_code == 200
    chunks = collector.below(the(collector.named("POST /rerank")))
    assert [chunk.attributes["rerank.documents"] for chunk in chunks] == [2, 1, 1]
    assert not any(chunk.has_failed for chunk in chunks)


async def test_only_the_servers_own_errors_are_errors_of_a_request(collector: Collector):
    worker = FakeVllm(always=status(500))
    async with gateway(worker, traces=True, max_attempts=1) as client:
        assert (await rerank(client, [])).status_code == 400
        assert (await traced(client)).status_code == 503
    mistaken, failed = collector.named("POST /rerank")
    assert (mistaken.has_failed, mistaken.attributes["http.response.status_code"]) == (False, 400)
    assert "error.type" not in mistaken.attributes
    assert (failed.has_failed, failed.attributes["error.type"]) == (True, "503")
    chunk = the(collector.below(failed))
    assert (chunk.has_failed, chunk.attributes["error.type"]) == (True, "unavailable")


async def test_cached_scores_need_no_chunk(collector: Collector):
    async with gateway(FakeVllm(), traces=True, cache=True) as client:
        await traced(client)
        await traced(client)
    first, second = collector.named("POST /rerank")
    assert (len(collector.below(first)), collector.below(second)) == (1, [])
    assert (first.attributes["rerank.cache_hits"], second.attributes["rerank.cache_hits"]) == (0, 4)


async def test_a_request_that_is_coalesced_with_another_is_linked_to_it(collector: Collector):
    worker = FakeVllm(delay_s=0.2)
    async with gateway(worker, traces=True, cache=True) as client:
        first = asyncio.create_task(traced(client, traceparent=SAMPLED))
        await until(lambda: worker.in_flight == 1)
        await traced(client)
        await first
    starter, follower = sorted(collector.named("POST /rerank"), key=lambda span: not span.above)
    assert follower.links == [(starter.trace, starter.id)]
    assert follower.attributes["rerank.coalesced"] == 4
    assert (starter.links, starter.attributes["rerank.coalesced"]) == ([], 0)
    assert (len(collector.below(starter)), collector.below(follower)) == (1, [])
    assert {call.headers["traceparent"].split("-")[1] for call in worker.scored} == {TRACE}


async def test_spans_of_a_client_that_left_are_cancelled_without_an_error(collector: Collector):
    worker = FakeVllm(delay_s=20)
    async with gateway(worker, traces=True) as client:
        asked = asyncio.create_task(traced(client))
        await until(lambda: worker.in_flight == 1)
        asked.cancel()
        await until(lambda: worker.abandoned == 1)
    request = the(collector.named("POST /rerank"))
    assert request.attributes["http.response.status_code"] == 499
    below = [the(collector.below(request)), *collector.below(the(collector.below(request)))]
    assert [span.attributes["rerank.cancelled"] for span in below] == [True, True]
    assert not any(span.has_failed for span in collector.spans)


async def test_probes_and_service_routes_are_not_traced(collector: Collector):
    worker = FakeVllm()
    async with gateway(worker, traces=True, probe_interval_s=0.05) as client:
        for path in ("/livez", "/metrics", "/v1/models", "/nowhere"):
            await client.get(path, headers={"traceparent": SAMPLED})
        probes = len([call for call in worker.calls if call.is_probe])
        await until(lambda: len([call for call in worker.calls if call.is_probe]) > probes)
    assert collector.spans == []
    assert not any("traceparent" in call.headers for call in worker.calls)


@pytest.mark.parametrize(
    ("sampler", "ratio", "sent", "spans"),
    [
        ("parentbased_traceidratio", "0", None, 0),
        ("parentbased_traceidratio", "0", SAMPLED, 3),
        ("parentbased_traceidratio", "1", NOT_SAMPLED, 0),
        ("parentbased_traceidratio", "1", None, 3),
        ("always_off", "", SAMPLED, 0),
    ],
)
async def test_the_sampler_decides_and_the_worker_learns_of_it(
    sampler: str, ratio: str, sent: str | None, spans: int, collector: Collector, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", ratio)
    worker = FakeVllm()
    async with gateway(worker, traces=True) as client:
        assert (await traced(client, **{"traceparent": sent} if sent else {})).status_code == 200
    assert len(collector.spans) == spans
    flags = the_call(worker).headers["traceparent"].rpartition("-")[2]
    assert int(flags, 16) & 1 == bool(spans)


async def test_the_service_has_the_name_that_it_is_given(collector: Collector, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "rerank-eu")
    async with gateway(FakeVllm(), traces=True) as client:
        await traced(client)
    assert {span.service for span in collector.spans} == {"rerank-eu"}


async def test_nothing_secret_is_exported(collector: Collector):
    quoting = status(400, "can't take the text hush-document for hush-query")
    worker = FakeVllm(api_key="hush-worker", always=quoting)
    async with worker.running():
        worker.url = worker.url.replace("://", "://user:hush-password@")
        keys = {"team": "hush-client"}
        async with gateway(worker, traces=True, api_keys=keys, worker_api_key="hush-worker") as client:
            answer = await client.post(
                "/rerank?model=hush-model&other=hush-other",
                json={"query": "hush-query", "documents": ["hush-document", "x"], "field": "hush-field"},
                headers={"Authorization": "Bearer hush-client", "User-Agent": "hush-agent", "X-Request-Id": "hush-id"},
            )
            assert answer.status_code == 404
            body = {"query": "hush-query", "documents": ["hush-document", "x"]}
            answer = await client.post("/rerank", json=body, headers={"Authorization": "Bearer hush-client"})
            assert answer.status_code == 400
    assert len(collector.spans) > 3
    assert b"hush" not in b"".join(collector.bodies)


@pytest.mark.parametrize("kind", ["gone", "silent"])
async def test_a_dead_collector_costs_no_request_time_and_the_log_few_lines(
    kind: str, silent: int, monkeypatch: pytest.MonkeyPatch
):
    port = silent if kind == "silent" else free_port()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    for name, value in HASTE.items():
        monkeypatch.setenv(name, value)
    async with FakeVllm().running() as worker, running("serve", worker, TRACES="on", DRAIN_S="0") as served:
        await served.until_usable()
        took_s = []
        async with httpx.AsyncClient(base_url=served.url) as client:
            with awake_clock() as now:
                for _ in range(150):
                    began = now()
                    assert (await traced(client)).status_code == 200
                    took_s.append(now() - began)
        served.tell(signal.SIGTERM)
        assert await served.ended(within_s=6) == 0
    assert max(took_s) < 1
    # One that waited for an export would have waited for 0.1 s.
    assert sorted(took_s)[135] < 0.1
    lines = [event["event"] for event in served.events]
    assert any("Failed to export spans" in line for line in lines)
    assert len([line for line in lines if line not in EXPECTED]) < 5, lines


async def test_the_end_waits_three_seconds_for_a_collector_and_no_longer(silent: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent}")
    async with FakeVllm().running() as worker, running("serve", worker, TRACES="on", DRAIN_S="0") as served:
        await served.until_usable()
        async with httpx.AsyncClient(base_url=served.url) as client:
            await traced(client)
        began = perf_counter()
        served.tell(signal.SIGTERM)
        assert await served.ended(within_s=6) == 0
        assert perf_counter() - began > 2.9
    assert "spans_lost" in [event["event"] for event in served.events]


async def test_the_end_brings_out_what_is_left(collector: Collector, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    async with FakeVllm().running() as worker, running("serve", worker, TRACES="on", DRAIN_S="0") as served:
        await served.until_usable()
        async with httpx.AsyncClient(base_url=served.url) as client:
            await traced(client)
        assert collector.spans == []
        served.tell(signal.SIGTERM)
        assert await served.ended(within_s=5) == 0
    assert len(collector.spans) == 3


async def test_when_off_a_clients_trace_goes_to_the_worker_as_it_came(collector: Collector):
    worker = FakeVllm()
    async with gateway(worker) as client:
        await traced(client, traceparent=SAMPLED, tracestate="vendor=1,other=2")
        await traced(client)
    first, second = (call.headers for call in worker.scored)
    assert (first["traceparent"], first["tracestate"]) == (SAMPLED, "vendor=1,other=2")
    assert not second.keys() & {"traceparent", "tracestate"}
    assert collector.spans == []


@pytest.mark.parametrize("traceparent", ["", "nonsense", SAMPLED.upper(), f"{SAMPLED}, {SAMPLED}"])
async def test_a_malformed_trace_is_not_passed_on(traceparent: str):
    worker = FakeVllm()
    async with gateway(worker) as client:
        assert (await traced(client, traceparent=traceparent, tracestate="vendor=1")).status_code == 200
    assert not the_call(worker).headers.keys() & {"traceparent", "tracestate"}


def test_when_off_nothing_of_the_extra_is_loaded():
    loaded = python("from app.main import create_app; from app.settings import load; create_app(load())")
    foreign = (
        "app.telemetry.otel",
        "opentelemetry.sdk",
        "opentelemetry.exporter",
        "opentelemetry.proto",
        "google.protobuf",
    )
    assert not [name for name in json.loads(loaded.out) if name.startswith(foreign)]


def test_without_the_extra_the_settings_name_it():
    missing = python("sys.modules['opentelemetry'] = None; from app.settings import load; load()", RERANK_TRACES="on")
    assert missing.err.splitlines()[-1].endswith(
        "traces is on, but what it needs isn't installed: pip install 'rerank-gateway[traces]'"
    )


async def test_traces_can_be_switched_on_where_the_extra_is_installed():
    assert "traces: true" in (await run("check-config", TRACES="on")).out


async def test_nobody_else_traces_requests(collector: Collector, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    async with FakeVllm().running() as worker, running("serve", worker, DRAIN_S="0") as served:
        await served.until_usable()
        async with httpx.AsyncClient(base_url=served.url) as client:
            await traced(client)
        served.tell(signal.SIGTERM)
        assert await served.ended() == 0
    assert collector.bodies == []


def python(code: str, **environment: str) -> Finished:
    """Run `code` in an interpreter of its own; it prints the modules that were loaded."""
    script = f"import json, sys; {code}; print(json.dumps(list(sys.modules)))"
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=os.environ | environment
    )
    return Finished(ended.returncode, ended.stdout, ended.stderr)


def the_call(worker: FakeVllm) -> Call:
    (call,) = worker.scored
    return call
