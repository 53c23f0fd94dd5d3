"""Neither clients nor workers that come and go add series without end, and a scrape is cheap."""

import asyncio
from itertools import pairwise
from random import Random
from time import perf_counter, process_time

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import ASGIApp

from app.api import dialects
from app.errors import BadAnswer, ClosedMidResponse, ContentRejected, Misconfigured, Unavailable, Unreachable
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.metrics.catalog import METRICS, workers
from app.types import Answer
from app.workers.connect import connect
from app.workers.worker import Worker
from app.workers.worker_gauges import watch_worker
from tests.growth import traced_memory
from tests.odd import MARK, Odd, odd_request, received
from tests.virtual import ScoreCall, ScriptedLink, application, on_virtual_clock

ERRORS = [
    Unreachable("w"),
    ClosedMidResponse("w"),
    Unavailable("w"),
    BadAnswer("w"),
    ContentRejected("w"),
    Misconfigured("w"),
]


OF_THE_API = {"route": set(dialects.ROUTES), "dialect": {dialect.name for dialect in dialects.DIALECTS}}


def strangers(text: bytes, *, operators: set[str]) -> set[str]:
    """Label values that are neither declared nor the operator's."""
    declared = {one.name.removesuffix("_total"): one for one in METRICS}
    found = set()
    for family in text_string_to_metric_families(text.decode()):
        if family.name in declared:
            known = {label.name: set(label.values) or operators for label in declared[family.name].labels} | OF_THE_API
            labels = {label for sample in family.samples for label in sample.labels.items() if label[0] != "le"}
            found |= {value for name, value in labels if value not in known[name]}
    return found


def series(text: bytes) -> int:
    return sum(not line.startswith(b"#") for line in text.splitlines())


def a_worker(name: str) -> Worker:
    return Worker(ScriptedLink(name), Settings())


def a_worker_at(address: str, metrics: Metrics) -> Worker:
    """A worker as its address makes it, watched."""
    worker = Worker(connect(address, Settings()), Settings())
    watch_worker(worker, metrics)
    return worker


def leave_traces_of(worker: Worker, metrics: Metrics) -> None:
    """Every series a worker can have."""
    for outcome in workers.ATTEMPTS.labels[2].values:
        metrics.attempt(worker.name, "first", outcome, documents=8, seconds=0.1)
        metrics.attempt(worker.name, "retry", outcome, documents=8, seconds=0.1)
    for outcome in workers.PROBES.labels[1].values:
        metrics.probe(worker.name, outcome)


def test_declared_label_values_are_those_of_the_code():
    assert {error.outcome for error in ERRORS} < set(workers.PROBES.labels[1].values)


@on_virtual_clock
async def test_no_request_however_odd_adds_a_series_of_its_own():
    text = await after_odd_requests(3000)
    assert MARK not in text.decode().lower()
    assert not strangers(text, operators={"m", "w0", "w1", "w2", *build()})


async def after_odd_requests(number: int) -> bytes:
    """The metrics of a gateway over moody workers that got so many odd requests."""
    rng = Random(11)
    links = [ScriptedLink(f"w{number}") for number in range(3)]
    for link in links:
        make_moody(link, rng)
    async with application(links, api_keys="a:hush,b:hush-2", worker_max_calls=2) as app:
        for _ in range(number // 10):
            await asyncio.gather(*[received(app, odd_request(rng)) for _ in range(10)])
            # Time for probes to find out that the workers are well.
            await asyncio.sleep(0.3)
        return await scrape(app)


def make_moody(link: ScriptedLink, rng: Random) -> None:
    async def step(call: ScoreCall) -> Answer:
        if rng.random() < 0.2:
            raise rng.choice(ERRORS)
        return await link.answer(call)

    link.always = step


async def scrape(app: ASGIApp) -> bytes:
    return (await received(app, Odd("GET", "/metrics", b"", [], b""))).body


def build() -> set[str]:
    """What the labels of rerank_build_info say."""
    families = {family.name: family for family in Metrics().registry.collect()}
    return set(families["rerank_build_info"].samples[0].labels.values())


def test_workers_that_come_and_go_leave_no_series_behind():
    metrics = Metrics()
    before = None
    for number in range(100):
        worker = a_worker(f"10.0.0.{number}:8000")
        watch_worker(worker, metrics)
        leave_traces_of(worker, metrics)
        during = series(metrics.render_at_once())
        metrics.forget_worker(worker.name, owner=worker)
        after = series(metrics.render_at_once())
        before = before or (during, after)
        assert (during, after) == before
    assert "10.0.0." not in metrics.render_at_once().decode()


def test_workers_that_come_and_go_take_no_memory():
    metrics = Metrics()
    with traced_memory() as memory:
        for number in range(20):
            worker = a_worker(f"10.0.0.{number}:8000")
            watch_worker(worker, metrics)
            leave_traces_of(worker, metrics)
            metrics.forget_worker(worker.name, owner=worker)
            if number == 10:
                before = memory.kept_bytes()
        assert memory.kept_bytes() - before < 10_000


def test_what_a_worker_does_after_it_left_is_not_shown():
    metrics, worker = Metrics(), a_worker("gone")
    watch_worker(worker, metrics)
    metrics.forget_worker(worker.name, owner=worker)
    leave_traces_of(worker, metrics)
    assert "gone" not in metrics.render_at_once().decode()
    assert metrics.registry.get_sample_value("rerank_chunk_documents_count")


def test_a_worker_that_comes_back_under_its_name_begins_anew_and_outlives_the_old_one():
    metrics, old, new = Metrics(), a_worker("w"), a_worker("w")
    watch_worker(old, metrics)
    leave_traces_of(old, metrics)
    metrics.forget_worker(old.name, owner=old)
    watch_worker(new, metrics)
    metrics.attempt("w", "first", "ok", documents=1, seconds=1)
    assert (
        metrics.worker_registry.get_sample_value(
            "rerank_attempts_total", {"worker": "w", "kind": "first", "outcome": "ok"}
        )
        == 1
    )
    metrics.forget_worker(old.name, owner=old)
    assert metrics.worker_registry.get_sample_value("rerank_worker_usable", {"worker": "w"}) == 0


async def test_two_workers_of_one_name_are_one_series():
    metrics = Metrics()
    for address in ("http://gpu-1:8000", "https://gpu-1:8000"):
        leave_traces_of(a_worker_at(address, metrics), metrics)
    names = [line.rpartition(b" ")[0] for line in metrics.render_at_once().splitlines() if not line.startswith(b"#")]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("address", ["http://anna:hush@gpu-1:8000", "http://a%40b:hu@sh@gpu-1:8000/v1?key=hush"])
async def test_credentials_of_a_workers_url_are_in_no_series(address: str):
    metrics = Metrics()
    leave_traces_of(a_worker_at(address, metrics), metrics)
    text = metrics.render_at_once().decode()
    assert strangers(text.encode(), operators={"gpu-1:8000", *build()}) == set()
    for secret in ("hush", "hu@sh", "anna", "a@b", "a%40b"):
        assert secret not in text


def test_a_scrape_with_50_workers_costs_little():
    metrics = Metrics()
    for number in range(50):
        worker = a_worker(f"gpu-{number}.workers:8000")
        watch_worker(worker, metrics)
        for outcome in ("ok", "cancelled", "unavailable"):
            metrics.attempt(worker.name, "first", outcome, documents=8, seconds=0.1)
            metrics.attempt(worker.name, "retry", outcome, documents=8, seconds=0.1)
        metrics.probe(worker.name, "ok")
        metrics.probe(worker.name, "attempt_timeout")
    assert series(metrics.render_at_once()) > 1500
    costs_s = []
    for _ in range(20):
        began = process_time()
        metrics.render_at_once()
        costs_s.append(process_time() - began)
    assert min(costs_s) < 0.02


async def test_requests_go_on_while_a_scrape_with_very_many_workers_is_written():
    metrics, settings = Metrics(), Settings()
    for number in range(500):
        watch_worker(Worker(ScriptedLink(f"gpu-{number}.workers:8000"), settings), metrics)
    began = perf_counter()
    scrape = asyncio.create_task(metrics.render())
    turns = [began]
    while not scrape.done():
        await asyncio.sleep(0)
        turns.append(perf_counter())
    assert series(scrape.result()) > 1500
    longest_s = max(later - earlier for earlier, later in pairwise(turns))
    assert longest_s < (turns[-1] - began) / 2
