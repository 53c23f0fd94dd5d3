"""The pure parts of the benchmark suite, and what its fake worker and its load promise."""

import asyncio
import json
import math
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import chain, count, repeat
from pathlib import Path
from random import Random

import pytest

from bench import fake_worker, page
from bench.charts import bars, line
from bench.connection import connected, get
from bench.gateways import Subject, peer
from bench.goals import GOALS, Goal
from bench.guard import has_slid, slides
from bench.load import closed_loop, constant_rate, due_times
from bench.peers.bare import BARE
from bench.quantiles import median, quantile
from bench.report import Report
from bench.table import obstacles, shares
from bench.traffic import batches, log_uniform, never_seen, texts, zipf
from bench.workers import fake_workers
from tests.listening import listening

RECORDED = Path(__file__).parent / "contract" / "recorded"


def test_a_quantile_is_the_nearest_rank():
    values = [float(value) for value in range(100, 0, -1)]
    assert [quantile(values, share) for share in (0, 0.5, 0.99, 0.991, 1)] == [1, 50, 99, 100, 100]
    assert quantile([7.0], 0.99) == 7


def test_the_median_is_a_value_that_was_seen():
    assert median([3.0, 1.0, 2.0]) == 2
    assert median([4.0, 1.0, 2.0, 3.0]) == 2


def test_requests_are_due_at_a_constant_rate_and_no_error_adds_up():
    due = list(due_times(1000.0, per_s=300, seconds=100))
    assert len(due) == 30_000
    assert due[-1] == pytest.approx(1000 + 29_999 / 300, abs=1e-9)


@asynccontextmanager
async def answering(hold: int = 0, status: bytes = b"200 OK") -> AsyncIterator[str]:
    """The URL of a server that answers nothing before so many requests have come."""
    come, enough = count(1), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                if next(come) >= hold:
                    enough.set()
                await enough.wait()
                writer.write(b"HTTP/1.1 %s\r\ncontent-length: 2\r\n\r\n{}" % status)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    async with listening(serve) as port:
        yield f"http://127.0.0.1:{port}"


async def test_a_stalled_server_keeps_no_request_from_being_sent_when_it_is_due():
    async with answering(hold=25) as url:
        seen = await constant_rate(url, repeat(get("/")), per_s=50, seconds=0.5)
    # Each has waited at least until the last one was due.
    assert len(seen.latencies_s) == 25
    assert all(latency_s >= (24 - number) / 50 for number, latency_s in enumerate(seen.latencies_s))


async def test_what_is_sent_late_counts_from_when_it_was_due():
    def late() -> Iterator[bytes]:
        yield get("/")
        time.sleep(0.2)
        yield from repeat(get("/"))

    async with answering() as url:
        seen = await constant_rate(url, late(), per_s=100, seconds=0.1)
    assert len(seen.latencies_s) == 10
    assert all(latency_s >= 0.2 - number / 100 for number, latency_s in enumerate(seen.latencies_s[1:], start=1))


async def test_what_is_refused_takes_for_ever():
    async with answering(status=b"429 Too Many Requests") as url:
        seen = await constant_rate(url, repeat(get("/")), per_s=100, seconds=0.05)
    assert seen.latencies_s == [math.inf] * 5


async def test_a_closed_loop_ends_with_its_requests():
    async with answering(hold=3) as url:
        seen = await closed_loop(url, repeat(get("/"), 10), clients=3)
    assert len(seen.latencies_s) == 10
    assert seen.per_s == pytest.approx(10 / seen.seconds)


def test_queries_come_as_often_as_zipf_says():
    seen = Counter(zipf(Random(1), 100, 200_000))
    assert set(seen) <= set(range(100))
    assert seen[0] / seen[9] == pytest.approx(10, rel=0.1)
    assert seen[1] / seen[3] == pytest.approx(2, rel=0.1)
    assert zipf(Random(1), 100, 50) == zipf(Random(1), 100, 50)


def test_a_search_is_cut_into_calls_that_hold_everything_once():
    found = list(range(100))
    calls = list(batches(found, Random(1), 32))
    assert [len(call) for call in calls] == [32, 32, 32, 4]
    assert sorted(chain(*calls)) == found
    assert calls[0] != found[:32]


def test_as_many_lists_are_below_the_root_of_the_longest_as_above():
    rng = Random(1)
    sizes = [log_uniform(rng, 400) for _ in range(10_000)]
    assert min(sizes) == 1
    assert max(sizes) == 400
    assert sum(size <= 20 for size in sizes) / len(sizes) == pytest.approx(0.5, abs=0.02)


def test_texts_are_distinct_and_as_long_as_asked_for():
    made = texts(1000, 600)
    assert len(set(made)) == 1000
    assert {len(text) for text in made} == {600}


def test_what_one_was_asked_nobody_else_is_asked():
    subjects = [Subject("one", "http://one"), Subject("same", "http://one", path="/v1/rerank")] * 2
    asked = [never_seen(subject, ["a"]) for subject in subjects]
    queries = [json.loads(next(requests).partition(b"\r\n\r\n")[2])["query"] for _ in range(50) for requests in asked]
    assert len(set(queries)) == len(queries)


@pytest.mark.parametrize(
    ("seen", "verdict"), [(0.4, "met"), (0.454, "met"), (0.5, "accepted"), (0.6, "accepted"), (0.61, "missed")]
)
def test_a_cost_is_judged_by_its_upper_bounds(seen: float, verdict: str):
    goal = Goal("cpu", lambda figures: figures["cpu"]["gateway"], 0.45, 0.6, "ms")
    assert goal.verdict({"cpu": {"gateway": seen}}) == verdict


@pytest.mark.parametrize(("seen", "verdict"), [(30, "met"), (25, "met"), (20, "accepted"), (15.9, "missed")])
def test_a_gain_is_judged_by_its_lower_bounds(seen: float, verdict: str):
    goal = Goal("times", lambda figures: figures["times"]["gateway"], 25, 16, "x")
    assert goal.verdict({"times": {"gateway": seen}}) == verdict


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ({"gateway": 0.4}, "met"),
        ({"gateway": 0.5}, "missed"),
        ({"gateway": 0.5, "litellm": 13, "plain proxy": 2.1}, "accepted"),
        ({"gateway": 0.5, "litellm": 12, "plain proxy": 2.1}, "missed"),
        ({"gateway": 0.5, "litellm": 13, "plain proxy": 1.9}, "missed"),
        ({"gateway": 0.61, "litellm": 30, "plain proxy": 5}, "missed"),
    ],
)
def test_a_cost_that_is_put_up_with_has_to_be_small_beside_that_of_others(seen: dict[str, float], verdict: str):
    assert GOALS[0].verdict({"cpu_ms.unknown": seen}) == verdict


def test_the_shares_of_others_that_were_measured_are_told():
    report = Report.begin(is_quick=True)
    assert shares(report) == ""
    report.put("cpu_ms.unknown", "gateway", 0.4)
    report.put("cpu_ms.unknown", "plain proxy", 1.6)
    assert shares(report) == "The gateway's CPU time for 32 documents is 25.0 % of the plain proxy's."


def test_each_goal_that_the_committed_report_misses_has_its_reason_in_the_documents():
    report = Report.read(page.LATEST)
    missed = {goal.what for goal in GOALS if goal.verdict(report.figures) in {"accepted", "missed"}}
    assert {what for what, _ in obstacles(report)} == missed


def test_what_was_not_measured_meets_no_goal():
    assert {goal.verdict({}) for goal in GOALS} == {"not measured"}


@pytest.mark.parametrize(("ratio", "red"), [(1.0, False), (1.39, False), (1.41, True)])
def test_the_guard_is_red_when_one_kind_of_request_costs_two_fifths_more(ratio: float, red: bool):  # noqa: FBT001
    baseline = {"none known": 0.5, "all known": 0.2}
    ratios = {"none known": 0.5 * ratio, "all known": 0.1}
    assert slides(ratios, baseline) == pytest.approx({"none known": ratio, "all known": 0.5})
    assert has_slid(ratios, baseline) == red


def test_the_guard_is_red_about_what_it_did_not_measure():
    assert has_slid({"none known": 0.5}, {"none known": 0.5, "all known": 0.2})


@pytest.mark.parametrize(("name", "path"), [("score_text_1_text_2", "/v1/score"), ("rerank_plain", "/v1/rerank")])
def test_the_fake_worker_answers_in_the_shape_that_was_recorded(name: str, path: str):
    recorded = json.loads((RECORDED / f"{name}.json").read_text())
    answer = fake_worker.answer(path, recorded["request"]["json"])
    body = recorded["response"]["body"]
    rows = "data" if path.endswith("score") else "results"
    assert answer.keys() == body.keys()
    assert len(answer[rows]) == len(body[rows])
    assert answer[rows][0].keys() == body[rows][0].keys()


def test_the_fake_worker_ranks_by_scores_that_depend_on_the_pair_only():
    documents = texts(20, 50)
    first, second = (
        fake_worker.answer("/rerank", {"query": "q", "documents": order})["results"]
        for order in (documents, documents[::-1])
    )
    assert [row["document"] for row in first] == [row["document"] for row in second]
    scores = [row["relevance_score"] for row in first]
    assert scores == sorted(scores, reverse=True)


def test_charts_are_well_formed_whatever_names_say():
    drawn = bars("a <b> & c", {"gateway": 0.5, "x < y & z": 12.0}, unit="ms"), line("m", [(0, 1)], unit="MB", of="s")
    assert all(ET.fromstring(chart).tag.endswith("svg") for chart in drawn)  # noqa: S314 - our own


async def test_the_bare_proxy_ranks_as_its_worker_scores():
    async with fake_workers(1) as workers, peer(BARE, workers) as subject, connected(subject.url) as connection:
        answer = json.loads(await connection.ask(subject.request("q", texts(20, 50))))
    scores = [fake_worker.score_of("q", document) for document in texts(20, 50)]
    ranked = [(row["index"], row["relevance_score"]) for row in answer["results"]]
    assert ranked == sorted(enumerate(scores), key=lambda one: -one[1])


def test_the_page_is_what_the_committed_report_says():
    report = Report.read(page.LATEST)
    assert page.PAGE.read_text() == page.page(report)
    assert {path.stem: path.read_text() for path in page.CHARTS.glob("*.svg")} == page.charts(report)
