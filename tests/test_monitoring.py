"""Rules, dashboard and runbook speak of what is there, and of all of it. What the rules do, rules_test.yaml tests."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.main import create_app
from app.settings import ModelSettings, Settings
from app.telemetry.metrics.catalog import METRICS
from tests.promql import Labels, Series, problems, selectors
from tests.running import until_ready

ROOT = Path(__file__).parent.parent
MONITORING = ROOT / "deploy" / "monitoring"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
RULES = [rule for group in yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
CASES = yaml.safe_load((MONITORING / "rules_test.yaml").read_text())["tests"]
PROMETHEUS = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
# What Prometheus puts on every series it scrapes.
TARGET_LABELS: dict[str, tuple[str, ...]] = {"namespace": (), "job": (), "instance": ()}


def queries(part: Any) -> Iterator[str]:
    """All expressions in a dashboard or a part of it."""
    if isinstance(part, dict):
        yield from (value for key, value in part.items() if key in {"expr", "definition"})
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from queries(inner)


EXPRESSIONS = {
    "rules": [rule["expr"] for rule in RULES],
    "dashboard": list(queries(DASHBOARD)),
    "runbook": re.findall(r"^```promql\n(.*?)^```$", RUNBOOK, re.MULTILINE | re.DOTALL),
    "cases": [sample["series"] for case in CASES for sample in case["input_series"]],
}


@pytest.fixture
async def series() -> Series:
    """All there is to ask for: what a gateway with Redis exposes, what is recorded, and Prometheus's own."""
    app = create_app(Settings(redis_url="redis://127.0.0.1:1", models={"m": ModelSettings()}))
    transport = httpx.ASGITransport(app)
    async with (
        app.app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://g") as client,
    ):
        await until_ready(client)
        exposed = re.findall(r"^# TYPE (\S+) (\w+)$", (await client.get("/metrics")).text, re.MULTILINE)
    declared = {metric.name: metric for metric in METRICS}
    known: dict[str, Labels] = {"up": TARGET_LABELS}
    known["ALERTS"] = {"namespace": (), "job": (), "alertname": tuple(ALERTS), "alertstate": ("pending", "firing")}
    known |= {name: dict.fromkeys({"namespace", "job", *labels_of(name)}, ()) for name in RECORDED}
    for name, kind in exposed:
        metric = declared.get(name)
        labels = TARGET_LABELS | {label.name: label.values for label in (metric.labels if metric else ())}
        if metric and kind == "histogram":
            bounds = (*(str(float(bound)) for bound in metric.buckets), "+Inf")
            known |= {f"{name}_bucket": labels | {"le": bounds}, f"{name}_count": labels, f"{name}_sum": labels}
        else:
            known[name] = labels
    return known


@pytest.mark.parametrize("place", EXPRESSIONS)
async def test_every_metric_label_and_value_that_is_asked_for_exists(series: Series, place: str):
    assert EXPRESSIONS[place]
    for expression in EXPRESSIONS[place]:
        assert not list(problems(expression, series)), expression


@pytest.mark.parametrize(
    "wrong",
    [
        "rate(rerank_requests[5m])",
        "job:rerank_requests_failed:ratio_rate7m > 1",
        'rerank_requests_total{code="200"}',
        'rerank_requests_total{status=~"6.."}',
        'rerank_worker_breaker{state="closd"} == 0',
        'rerank_request_duration_seconds_bucket{le="2.0"}',
        "sum by (worker) (rate(rerank_requests_total[5m]))",
        "sum(rerank_queue_chunks) by (worker)",
        "rerank_tasks / on (worker) rerank_worker_calls",
        "label_values(rerank_tasks, worker)",
    ],
)
async def test_what_does_not_exist_is_found(series: Series, wrong: str):
    assert list(problems(wrong, series))


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_name_begins_with_its_labels(name: str):
    summed = [set(labels.split(", ")) - {"le", "namespace"} for labels in re.findall(r"\bby \((.+?)\)", RECORDED[name])]
    assert summed == [labels_of(name)] * len(summed)
    assert summed or RECORDED[name].startswith("vector(")


def test_every_series_of_the_rules_is_one_releases():
    """The chart writes its release's namespace and job in place of it."""
    for rule in RULES:
        for one in selectors(rule["expr"]):
            assert ("job", "=", "rerank-gateway") in one.matchers, rule["expr"]
    assert all(rule["labels"] == {"job": "rerank-gateway"} for rule in RULES if rule["expr"].startswith("vector("))


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_case_where_it_fires_and_one_where_it_stays_silent(alert: str):
    asked = [one for case in CASES for one in case["promql_expr_test"] if f'ALERTS{{alertname="{alert}"' in one["expr"]]
    states = [re.findall(r'alertstate="(\w+)"', sample["labels"]) for one in asked for sample in one["exp_samples"]]
    assert ["firing"] in states
    # Silent for the whole time, not at one moment only.
    assert [one for one in asked if one["expr"].startswith("max_over_time(count(") and not one["exp_samples"]]


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_how_bad_it_is_what_happens_and_where_to_read_on(alert: str):
    rule = ALERTS[alert]
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    base = next(iter(ALERTS.values()))["annotations"]["runbook_url"].partition("#")[0]
    assert base.endswith("/docs/runbook.md")
    assert rule["annotations"]["runbook_url"] == f"{base}#{alert.lower()}"


def test_the_runbook_has_a_section_for_every_alert_in_their_order():
    sections = re.split(r"^## ", RUNBOOK, flags=re.MULTILINE)[1:]
    assert [section.partition("\n")[0] for section in sections] == list(ALERTS)
    for section in sections:
        assert re.findall(r"^\*\*(.+?)\*\*", section, re.MULTILINE) == ["Clients see", "Look at", "Do"], section


def test_prometheus_loads_the_rules_and_scrapes_the_job_they_name():
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in PROMETHEUS["scrape_configs"]}
    assert PROMETHEUS["rule_files"] == ["rules.yaml"]
    assert jobs["rerank-gateway"] == ["gateway:8080"]
    named = {job for rule in RULES for job in re.findall(r'job="(.+?)"', rule["expr"])}
    assert named == {"rerank-gateway"}


def test_no_two_panels_overlap_and_all_fit_the_width():
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_every_panel_has_a_unit_an_explanation_and_the_chosen_data_source(panel: dict[str, Any]):
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["description"].endswith(".")
    assert [one["id"] for one in DASHBOARD["panels"]].count(panel["id"]) == 1
    for one in [panel, *panel["targets"]]:
        assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_every_metric_is_on_the_dashboard():
    shown = {selector.metric for expression in queries(PANELS) for selector in selectors(expression)}
    assert {metric.name for metric in METRICS} <= {re.sub("_bucket$", "", name) for name in shown}


async def test_every_panel_follows_the_chosen_replicas_and_workers(series: Series):
    for expression in queries(PANELS):
        for metric, matchers in selectors(expression):
            is_raw = metric not in RECORDED and metric != "ALERTS"
            assert (("instance", "=~", "$instance") in matchers) == is_raw, expression
            assert (("worker", "=~", "$worker") in matchers) == ("worker" in series[metric]), expression


def labels_of(recorded: str) -> set[str]:
    """A recorded name's labels: all that stands before the first colon, but for the objectives' own numbers."""
    level = recorded.partition(":")[0]
    return set() if level == "rerank" else set(level.split("_"))
