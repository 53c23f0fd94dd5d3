"""Each metric moves when its thing happens, and not otherwise: on a virtual clock."""

import asyncio
import math
from collections import deque
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from starlette.types import ASGIApp

from app.assembly import Assembly
from app.errors import ClosedMidResponse, ContentRejected, Misconfigured, Unavailable, Unreachable, WorkerError
from app.settings import Settings
from app.telemetry.metrics.catalog import METRICS
from app.types import Answer
from tests.cache.valkey import valkey
from tests.virtual import ScoreCall, ScriptedLink, after, application, engine, on_virtual_clock, score
from tests.waiting import until

DOCUMENTS = [f"document {number}" for number in range(8)]
Samples = dict[str, float]
_LABELS = [*dict.fromkeys(label.name for one in METRICS for label in one.labels), "le"]


def read(text: bytes) -> Samples:
    """The values of a scrape by series, written as `name{value of its first declared label, ...}` without `rerank_`."""
    samples = [sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples]
    return {_series_of(sample): sample.value for sample in samples if sample.name.startswith("rerank_")}


def _series_of(sample: Sample) -> str:
    values = [sample.labels[name] for name in sorted(sample.labels, key=_LABELS.index)]
    return sample.name.removeprefix("rerank_") + (f"{{{','.join(values)}}}" if values else "")


def scraped(made: Assembly) -> Samples:
    return read(made.metrics.render_at_once())


def counted(before: Samples, after: Samples) -> Samples:
    """The counts that moved, and by how much; gauges, sums and buckets left out."""
    moved = {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}
    return {name: value for name, value in moved.items() if name.partition("{")[0].endswith(("_total", "_count"))}


@on_virtual_clock
async def test_a_request_that_goes_well_moves_its_own_counts_and_nothing_else():
    async with engine([ScriptedLink("w")]) as made:
        before = scraped(made)
        await score(made, [*DOCUMENTS, "document 0"])
        assert counted(before, scraped(made)) == {
            "documents_total{worker}": 8,
            "documents_total{duplicate}": 1,
            "attempts_total{w,first,ok}": 1,
            "attempt_duration_seconds_count{w}": 1,
            "chunk_documents_count": 1,
            "queue_wait_seconds_count": 1,
        }
        after = scraped(made)
        assert after["chunk_documents_sum"] == 8
        assert after["attempt_duration_seconds_sum{w}"] == pytest.approx(0.01)
        assert after["queue_wait_seconds_sum"] == 0


@on_virtual_clock
async def test_a_failed_call_is_counted_as_what_it_was_and_its_time_is_not():
    links = [ScriptedLink("a", always=ClosedMidResponse("a")), ScriptedLink("b")]
    async with engine(links) as made:
        while not links[0].calls:
            before = scraped(made)
            await score(made, DOCUMENTS)
        moved = counted(before, scraped(made))
    assert moved["attempts_total{a,first,closed_mid_response}"] == moved["attempts_total{b,retry,ok}"] == 1
    assert moved["chunk_documents_count"] == moved["queue_wait_seconds_count"] == 2
    assert moved["attempt_duration_seconds_count{b}"] == 1
    assert "attempt_duration_seconds_count{a}" not in moved
    assert "retries_denied_total" not in moved


@on_virtual_clock
async def test_a_retry_costs_the_budget_one_and_what_it_cannot_pay_is_denied():
    link = ScriptedLink("w", script=deque([Unavailable("w")] * 3))
    async with engine([link], retry_reserve=2, retry_ratio=0, max_attempts=9) as made:
        assert scraped(made)["retry_budget"] == 2
        with pytest.raises(Exception, match="No worker can serve"):
            await score(made, DOCUMENTS)
        assert (scraped(made)["retry_budget"], scraped(made)["retries_denied_total"]) == (0, 1)
        await asyncio.sleep(10)
        assert (scraped(made)["retry_budget"], scraped(made)["retries_denied_total"]) == (2, 1)


@on_virtual_clock
async def test_halving_a_refused_chunk_is_a_retry_that_can_be_denied():
    async with engine([ScriptedLink("w", always=ContentRejected("no"))], retry_reserve=0, retry_ratio=0) as made:
        with pytest.raises(Exception, match="no"):
            await score(made, DOCUMENTS)
        assert scraped(made)["retries_denied_total"] == 1


@on_virtual_clock
async def test_hedges_are_won_or_lost():
    slow, other = ScriptedLink("slow", takes_s=0.005), ScriptedLink("other", takes_s=0.005)
    async with engine([slow, other], hedge=True) as made:
        for _ in range(60):
            await score(made, DOCUMENTS)

        slow.always = after(9)
        assert _hedges(await _moved_by_a_request_to("slow", made)) == {"hedges_total{won}": 1}

        async def a_little_late(call: ScoreCall) -> Answer:
            await asyncio.sleep(0.007)
            return await slow.answer(call)

        slow.always = a_little_late
        await asyncio.sleep(10)
        assert _hedges(await _moved_by_a_request_to("slow", made)) == {"hedges_total{lost}": 1}


async def _moved_by_a_request_to(first: str, made: Assembly) -> Samples:
    """What the next request moves whose first call goes to this worker."""
    for _ in range(50):
        before = scraped(made)
        await score(made, DOCUMENTS)
        moved = counted(before, scraped(made))
        if any(name.startswith(f"attempts_total{{{first},first,") for name in moved):
            return moved
    raise TimeoutError


def _hedges(samples: Samples) -> Samples:
    return {name: value for name, value in samples.items() if name.startswith("hedges")}


@on_virtual_clock
async def test_a_hedge_for_which_no_worker_is_free_is_none():
    link = ScriptedLink("only")
    async with engine([link], hedge=True) as made:
        for _ in range(60):
            await score(made, DOCUMENTS)
        link.takes_s = 1
        await score(made, DOCUMENTS)
        assert _hedges(scraped(made)) == {"hedges_total{won}": 0, "hedges_total{lost}": 0}


@on_virtual_clock
async def test_the_queue_is_seen_in_chunks_documents_and_seconds():
    async with engine([ScriptedLink("w", takes_s=1)], worker_max_calls=1) as made:
        asked = [asyncio.create_task(score(made, [f"{n} {text}" for text in DOCUMENTS])) for n in range(3)]
        await asyncio.sleep(0.5)
        waiting = scraped(made)
        assert (waiting["queue_chunks"], waiting["queue_documents"]) == (2, 16)
        assert (waiting["pending_documents"], waiting["worker_calls{w}"], waiting["worker_documents{w}"]) == (24, 1, 8)
        await asyncio.gather(*asked)
        done = scraped(made)
        assert (done["queue_chunks"], done["queue_documents"], done["pending_documents"]) == (0, 0, 0)
        assert done["queue_wait_seconds_sum"] == pytest.approx(0 + 1 + 2)


@on_virtual_clock
async def test_scores_that_were_known_or_under_way_are_counted_as_such():
    async with engine([ScriptedLink("w", takes_s=1)]) as made:
        before = scraped(made)
        asked = [asyncio.create_task(score(made, DOCUMENTS, cache="default")) for _ in range(2)]
        await asyncio.sleep(0.5)
        assert scraped(made)["inflight_pairs"] == 8
        await asyncio.gather(*asked)
        await score(made, DOCUMENTS, cache="default")
        moved = counted(before, scraped(made))
        assert moved["attempts_total{w,first,ok}"] == 1
        assert {name: value for name, value in moved.items() if name.startswith("documents")} == {
            "documents_total{worker}": 8,
            "documents_total{coalesced}": 8,
            "documents_total{memory}": 8,
        }
        assert (scraped(made)["inflight_pairs"], scraped(made)["cache_pairs"]) == (0, 8)


@on_virtual_clock
async def test_documents_no_worker_would_score_are_counted_whether_or_not_they_get_a_score():
    for document_errors, given in (("lowest", 1), ("error", 0)):
        link = ScriptedLink("w")

        async def refuse_poison(call: ScoreCall, link: ScriptedLink = link) -> Answer:
            if "poison" in call.pairs.documents:
                raise ContentRejected("too long")
            return await link.answer(call)

        link.always = refuse_poison
        async with engine([link], document_errors=document_errors) as made:
            await asyncio.gather(score(made, [*DOCUMENTS, "poison"]), return_exceptions=True)
            assert scraped(made)["document_errors_total"] == 1
            assert scraped(made)["documents_total{refused}"] == given


@on_virtual_clock
async def test_an_answer_of_the_fallback_is_a_degraded_request():
    link = ScriptedLink("w", problem=Unreachable("w"))
    async with engine([link], fallback="lexical", no_worker_wait_s=1) as made:
        await score(made, DOCUMENTS)
        await asyncio.gather(score(made, DOCUMENTS, takes_degraded=False), return_exceptions=True)
        assert scraped(made)["degraded_requests_total"] == 1
        assert scraped(made)["documents_total{fallback}"] == 8


BREAKERS: list[tuple[WorkerError | None, dict[str, float]]] = [
    (None, {"worker_usable": 1, "worker_misconfigured": 0, "closed": 1, "half_open": 0, "open": 0}),
    (Unreachable("w"), {"worker_usable": 0, "worker_misconfigured": 0, "closed": 0, "half_open": 0, "open": 1}),
    (Misconfigured("w"), {"worker_usable": 0, "worker_misconfigured": 1, "closed": 0, "half_open": 0, "open": 1}),
]


@pytest.mark.parametrize(("problem", "expected"), BREAKERS, ids=["well", "down", "misconfigured"])
@on_virtual_clock
async def test_a_worker_shows_the_state_it_is_in(problem: WorkerError | None, expected: dict[str, float]):
    async with engine([ScriptedLink("w", problem=problem)]) as made:
        assert _state_of(scraped(made)) == expected


@on_virtual_clock
async def test_a_breaker_is_half_open_while_a_probe_is_under_way():
    link = ScriptedLink("w", problem=Unreachable("w"))
    async with engine([link], probe_timeout_s=5) as made:
        link.problem, link.hangs_probes = None, True
        await asyncio.sleep(3)
        state = _state_of(scraped(made))
        assert (state["half_open"], state["worker_usable"]) == (1, 0)
        await asyncio.sleep(5)
        assert scraped(made)["probes_total{w,attempt_timeout}"] == 1


def _state_of(samples: Samples) -> Samples:
    state = {
        name.partition(",")[2][:-1]: value for name, value in samples.items() if name.startswith("worker_breaker{")
    }
    return {name: samples[f"{name}{{w}}"] for name in ("worker_usable", "worker_misconfigured")} | state


@on_virtual_clock
async def test_probes_are_counted_by_how_they_ended():
    link = ScriptedLink("w")
    async with engine([link], probe_interval_s=5) as made:
        assert counted({}, scraped(made)) == {"probes_total{w,ok}": 1}
        await asyncio.sleep(60)
        assert counted({}, scraped(made)).keys() == {"probes_total{w,ok}"}
        link.problem = Misconfigured("w")
        await asyncio.sleep(15)
        assert scraped(made)["probes_total{w,misconfigured}"] > 1


@on_virtual_clock
async def test_weights_that_were_exchanged_are_one_probe_that_saw_the_model_change():
    link = ScriptedLink("w")
    async with engine([link], probe_interval_s=5) as made:
        link.shift = 0.01
        await asyncio.sleep(30)
        assert "probes_total{w,model_changed}" not in scraped(made)
        link.shift = 0.2
        await asyncio.sleep(60)
        assert scraped(made)["probes_total{w,model_changed}"] == 1


async def test_the_shared_cache_is_usable_in_doubt_or_absent():
    assert "redis_usable" not in scraped(Assembly(Settings()))
    async with valkey() as server:
        made = Assembly(Settings(redis_url=server.url))
        assert scraped(made)["redis_usable"] == 0
        async with made.running():
            await until(lambda: scraped(made)["redis_usable"] == 1)


SHED: dict[str, dict[str, Any]] = {
    "queue": {"max_queue_wait_s": 1},
    "deadline": {"max_queue_wait_s": 100, "deadline_s": 3.2, "no_worker_wait_s": 1},
    "pending": {"max_pending_documents": 300},
    "key": {"max_pending_documents_per_key": 300},
    "bytes": {"max_bytes_in_flight": 2000, "max_body_bytes": 2000},
}


@pytest.mark.parametrize("reason", SHED)
@on_virtual_clock
async def test_every_429_is_counted_once_by_its_reason(reason: str):
    link = ScriptedLink("w", takes_s=0, per_document_s=0.01)
    usual = {"max_batch": 16, "worker_max_calls": 1, "max_queue_wait_s": 100, "cache": False}
    async with application([link], **usual | SHED[reason]) as app:
        asked = [asyncio.create_task(_ask(app, f"{n}")) for n in range(4)]
        await asyncio.sleep(1.5)
        asked.append(asyncio.create_task(_ask(app, "late")))
        statuses = await asyncio.gather(*asked)
        refused = statuses.count(429)
        assert refused
        moved = counted({}, read(await _scrape(app)))
        assert {name: n for name, n in moved.items() if "shed" in name} == {f"shed_total{{{reason}}}": refused}
        assert moved["requests_total{/v1/rerank,vllm,429}"] == refused


async def _ask(app: ASGIApp, name: str) -> int:
    body = {"query": "q", "documents": [f"{name} {number}" for number in range(100)]}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        return (await client.post("/v1/rerank", json=body)).status_code


async def _scrape(app: ASGIApp) -> bytes:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        return (await client.get("/metrics")).content


@on_virtual_clock
async def test_the_bytes_of_a_body_are_in_flight_until_it_is_answered():
    async with application([ScriptedLink("w", takes_s=1)]) as app:
        asked = asyncio.create_task(_ask(app, "a"))
        await asyncio.sleep(0.5)
        assert 500 < read(await _scrape(app))["request_bytes_in_flight"] < 1000
        assert await asked == 200
        assert read(await _scrape(app))["request_bytes_in_flight"] == 0


@on_virtual_clock
async def test_what_runs_is_told_and_every_value_is_a_number():
    async with application([ScriptedLink("w")]) as app:
        samples = read(await _scrape(app))
    assert [value for name, value in samples.items() if name.startswith("build_info{")] == [1]
    assert all(math.isfinite(value) for value in samples.values())
