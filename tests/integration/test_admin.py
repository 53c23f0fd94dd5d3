"""What an operator sees of a running gateway, and changes, over real sockets."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import __version__
from app.settings import Settings
from tests.fake_vllm import FakeVllm, score_of, status
from tests.integration.commands import running
from tests.running import gateway, rerank
from tests.waiting import until, until_it

DOCUMENTS = [f"document {number}" for number in range(40)]
JSON = {"Content-Type": "application/json"}
USABLE_OF_MODEL = "the last usable worker of tiny-reranker"
GAUGE = re.compile(r'^rerank_worker_(usable|drained)\{worker="(.+)"\} (\S+)$', re.MULTILINE)


def name_of(worker: FakeVllm) -> str:
    return worker.url.removeprefix("http://")


async def seen(client: httpx.AsyncClient, what: str) -> Any:
    """What a GET route answers."""
    answer = await client.get(f"/admin/{what}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json()


async def worker_of(client: httpx.AsyncClient, worker: FakeVllm) -> dict[str, Any]:
    """What the gateway knows of one worker."""
    (found,) = [one for one in (await seen(client, "workers"))["workers"] if one["name"] == name_of(worker)]
    return dict(found)


async def drain(client: httpx.AsyncClient, worker: FakeVllm, **more: Any) -> httpx.Response:
    return await client.post("/admin/workers/drain", json={"worker": name_of(worker)} | more)


async def undrain(client: httpx.AsyncClient, worker: FakeVllm) -> httpx.Response:
    return await client.post("/admin/workers/undrain", json={"worker": name_of(worker)})


async def until_idle(client: httpx.AsyncClient, worker: FakeVllm) -> None:
    """Wait until the gateway has no call at the worker; one that is under way may just be arriving there."""
    async with asyncio.timeout(15):
        while (await worker_of(client, worker))["calls"]:
            pass


async def gauges(client: httpx.AsyncClient) -> dict[tuple[str, str], float]:
    told = (await client.get("/metrics")).text
    return {(worker, gauge): float(value) for gauge, worker, value in GAUGE.findall(told)}


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    return dict(error)


@asynccontextmanager
async def load(client: httpx.AsyncClient) -> AsyncIterator[list[httpx.Response]]:
    """Clients that ask without a pause until the end of the block, and all they were answered."""
    answers: list[httpx.Response] = []
    is_over = False

    async def ask() -> None:
        while not is_over:
            answers.append(await rerank(client, DOCUMENTS))

    clients = [asyncio.create_task(ask()) for _ in range(4)]
    try:
        yield answers
    finally:
        is_over = True
        await asyncio.gather(*clients)


async def test_a_model_whose_scores_are_no_numbers_is_shown_with_its_fix_though_its_worker_never_served_it():
    # vLLM's words for a NaN.
    overflows = status(400, "Out of range float values are not JSON compliant: nan")
    broken = FakeVllm(model="broken", fails_probes=True, always=overflows)
    async with gateway(FakeVllm(), broken) as client:

        async def is_shown() -> bool:
            return any(model["suspicion"] for model in (await worker_of(client, broken))["models"])

        await until_it(is_shown)
        worker = await worker_of(client, broken)
    (model,) = worker["models"]
    assert (model["model"], model["check"], model["usable"]) == ("broken", "suspect", False)
    assert model["suspicion"]["reason"] == "not_finite"
    assert "--dtype float32" in model["suspicion"]["fix"]


async def test_a_worker_is_shown_with_all_that_decides_about_its_work():
    async with gateway(worker := FakeVllm(), other := FakeVllm()) as client:
        await rerank(client, ["a"])

        async def is_checked() -> bool:
            return all(one["models"][0]["check"] == "passed" for one in (await seen(client, "workers"))["workers"])

        await until_it(is_checked)
        shown = await seen(client, "workers")
        assert shown["sources"] == [{"name": "RERANK_WORKERS", "problem": None}]
        assert {one["name"] for one in shown["workers"]} == {name_of(worker), name_of(other)}
        asked, idle = sorted(shown["workers"], key=lambda one: one["latency_s"] is None)
    assert 0 < asked.pop("latency_s") < 5
    assert 0 <= asked.pop("last_success_s") < 5
    (model,) = asked.pop("models")
    assert re.fullmatch(r"\d\.\d\d(,\d\.\d\d){3}", model.pop("probe_scores"))
    expected = {"model": "tiny-reranker", "root": "/models/tiny-reranker", "max_model_len": 512, "version": "0.32.0"}
    right = {"kind": "cross_encoder", "truncation": "pair", "score_scale": "probability"}
    assert model.pop("profile") == right | {"multimodal": False, "splits_images": True, "takes_instruction": True}
    assert (model.pop("check"), model.pop("unsure_of"), model.pop("suspicion")) == ("passed", [], None)
    assert model == expected | {"revision": "", "usable": True}
    assert asked.pop("limit_documents") >= 64
    assert asked.pop("name")
    assert asked == {
        "state": "usable",
        "breaker": "closed",
        "is_ready": True,
        "is_drained": False,
        "problem": None,
        "calls": 0,
        "documents": 0,
        "tokens": 0,
        "slowness": None,
        "backs_off_s": 0,
        "next_probe_s": None,
    }
    assert (idle["last_success_s"], idle["latency_s"]) == (None, None)


async def test_a_worker_shows_what_it_holds_that_it_backs_off_and_that_it_is_failing():
    async with gateway(worker := FakeVllm(delay_s=0.2), max_attempts=1) as client:
        asked = asyncio.create_task(rerank(client, ["a", "b"]))
        await until(lambda: worker.in_flight)
        held = await worker_of(client, worker)
        assert (held["calls"], held["documents"]) == (1, 2)
        assert held["tokens"] > 0
        await asked
        worker.faults.append(status(503, retry_after="30"))
        await rerank(client, ["c"])
        assert 0 < (await worker_of(client, worker))["backs_off_s"] <= 30
    async with gateway(FakeVllm(), nowhere := FakeVllm(url="http://127.0.0.1:9")) as client:
        shown = await worker_of(client, nowhere)
        assert shown["state"] in {"failing", "trying"}
        assert shown["models"] == []
        assert "127.0.0.1:9 refused the connection" in shown["problem"]
        assert shown["next_probe_s"] is None or 0 <= shown["next_probe_s"] <= 4


async def test_credentials_in_a_workers_url_are_in_no_name():
    async with FakeVllm().running() as worker:
        with_password = FakeVllm(url=worker.url.replace("http://", "http://user:hush@"))
        async with gateway(with_password) as client:
            for path in ("workers", "cache", "settings", "stats"):
                assert "hush" not in (await client.get(f"/admin/{path}")).text
            assert (await drain(client, worker, force=True)).json()["name"] == name_of(worker)


async def test_a_worker_is_drained_under_load_without_a_failed_request_or_a_new_call_and_works_again_after():
    drained, other = FakeVllm(fixed_s=0.002), FakeVllm(fixed_s=0.002)
    async with gateway(drained, other, max_batch=8, min_batch=4) as client, load(client) as answers:
        await until(lambda: len(drained.scored) > 20)
        answer = await drain(client, drained)
        assert (answer.status_code, answer.json()["state"]) == (200, "drained")
        await until_idle(client, drained)
        calls, others, answered = len(drained.scored), len(other.scored), len(answers)
        await until(lambda: len(answers) > answered + 20)
        assert len(drained.scored) == calls
        assert len(other.scored) > others
        gauged = await gauges(client)
        assert [gauged[name_of(drained), gauge] for gauge in ("usable", "drained")] == [0, 1]
        assert (await undrain(client, drained)).json()["state"] == "usable"
        await until(lambda: len(drained.scored) > calls + 20)
        gauged = await gauges(client)
        assert [gauged[name_of(drained), gauge] for gauge in ("usable", "drained")] == [1, 0]
    assert {answer.status_code for answer in answers} == {200}
    scores = {row["index"]: row["relevance_score"] for row in answers[-1].json()["results"]}
    assert scores == {index: score_of("q", document) for index, document in enumerate(DOCUMENTS)}


async def test_the_last_usable_worker_of_a_model_is_drained_by_force_only():
    async with gateway(first := FakeVllm(), last := FakeVllm(), no_worker_wait_s=0.1) as client:
        assert (await drain(client, first)).status_code == 200
        refused = await drain(client, last)
        assert refused.status_code == 409
        error = error_of(refused)
        assert (error["type"], error["param"]) == ("ConflictError", "worker")
        assert USABLE_OF_MODEL in error["message"]
        assert (await rerank(client, ["a"])).status_code == 200

        assert (await drain(client, last, force=True)).status_code == 200
        told = await rerank(client, ["a"])
        assert told.status_code == 503
        assert "is drained" in told.text
        assert int(told.headers["Retry-After"]) >= 1
        # Clients are told why; a load balancer isn't sent elsewhere, where it may be the same.
        assert (await client.get("/readyz")).status_code == 200

        await undrain(client, last)
        assert (await rerank(client, ["a"])).status_code == 200


async def test_the_only_worker_of_one_model_counts_as_its_last():
    one, other = FakeVllm(), FakeVllm(model="other", root="/models/other")
    async with gateway(one, other) as client:
        refused = await drain(client, other)
        assert refused.status_code == 409
        assert "the last usable worker of other" in error_of(refused)["message"]


async def test_draining_twice_is_draining_once():
    async with gateway(worker := FakeVllm(), FakeVllm()) as client:
        for _ in range(2):
            answer = await drain(client, worker)
            assert (answer.status_code, answer.json()["is_drained"]) == (200, True)
        for _ in range(2):
            answer = await undrain(client, worker)
            assert (answer.status_code, answer.json()["is_drained"]) == (200, False)


@pytest.mark.parametrize("path", ["/admin/workers/drain", "/admin/workers/undrain"])
async def test_an_unknown_worker_is_told_the_names_there_are(path: str):
    async with gateway(worker := FakeVllm()) as client:
        told = await client.post(path, json={"worker": "gpu-9:8000"})
        assert told.status_code == 404
        assert "gpu-9:8000" in error_of(told)["message"]
        assert name_of(worker) in error_of(told)["message"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/admin/workers/drain", {}, "worker"),
        ("/admin/workers/drain", {"worker": 3}, "worker"),
        ("/admin/workers/drain", {"worker": "w", "force": "yes"}, "force"),
        ("/admin/workers/drain", {"worker": "w", "forced": True}, "forced"),
        ("/admin/workers/undrain", {"worker": "w", "force": True}, "force"),
        ("/admin/cache/flush", {"model": None}, "model"),
        ("/admin/cache/flush", {"model": "m", "key": "k"}, "key"),
    ],
)
async def test_a_body_with_a_mistake_is_refused_by_the_field_and_changes_nothing(path: str, body: Any, param: str):
    async with gateway(FakeVllm(), FakeVllm()) as client:
        told = await client.post(path, json=body)
        assert told.status_code == 400
        assert error_of(told)["param"] == param
        assert not any(one["is_drained"] for one in (await seen(client, "workers"))["workers"])


@pytest.mark.parametrize("body", ["", "no json", "[]", "null"])
async def test_a_body_that_is_no_object_is_refused(body: str):
    async with gateway(FakeVllm()) as client:
        assert (await client.post("/admin/cache/flush", content=body, headers=JSON)).status_code == 400


async def test_the_cache_shows_what_it_holds_and_where_scores_came_from():
    async with gateway(FakeVllm(), cache=True, cache_max_bytes=2**20, cache_ttl_s=60) as client:
        await rerank(client, ["a", "b", "a"])
        await rerank(client, ["a", "b"])
        shown = await seen(client, "cache")
    assert shown == {
        "enabled": True,
        "pairs": 2,
        "bytes": 340,
        "max_bytes": 2**20,
        "ttl_s": 60,
        "documents": {
            "worker": 2,
            "memory": 2,
            "redis": 0,
            "coalesced": 0,
            "duplicate": 1,
            "fallback": 0,
            "refused": 0,
        },
        "evictions": 0,
        "generations": {},
        "redis": None,
    }


async def test_a_cache_that_is_off_says_so():
    async with gateway(FakeVllm(), cache=False) as client:
        await rerank(client, ["a"])
        shown = await seen(client, "cache")
    assert (shown["enabled"], shown["pairs"], shown["documents"]["worker"]) == (False, 0, 1)


@pytest.mark.parametrize("asked", ["tiny-reranker", "the-default"])
async def test_after_a_flush_the_next_request_is_scored_again(asked: str):
    models = {"tiny-reranker": {"aliases": ["the-default"]}}
    async with gateway(worker := FakeVllm(), cache=True, models=models) as client:
        await rerank(client, ["a", "b"])
        await rerank(client, ["a", "b"])
        assert len(worker.scored) == 1
        flushed = await client.post("/admin/cache/flush", json={"model": asked})
        assert flushed.status_code == 200
        told = flushed.json()
        assert (told["model"], told["flushed"]) == ("tiny-reranker", True)
        assert told["replicas"].startswith("this one only")
        await rerank(client, ["a", "b"])
        assert len(worker.scored) == 2
        assert (await seen(client, "cache"))["generations"].keys() == {"tiny-reranker"}


async def test_an_unknown_model_is_told_the_names_there_are():
    async with gateway(FakeVllm(), models={"tiny-reranker": {"aliases": ["the-default"]}}) as client:
        told = await client.post("/admin/cache/flush", json={"model": "nothing"})
        assert told.status_code == 404
        assert "there is the-default, tiny-reranker" in error_of(told)["message"]


async def test_a_shared_cache_that_is_down_is_shown_without_its_password():
    url = "redis://user:hush@127.0.0.1:1/3"
    async with gateway(FakeVllm(), cache=True, redis_url=url) as client:
        shown = await seen(client, "cache")
        assert shown["redis"] == {"usable": False, "url": "redis://**********@127.0.0.1:1/3"}
        flushed = await client.post("/admin/cache/flush", json={"model": "tiny-reranker"})
        assert flushed.json()["replicas"].endswith("when Redis is back")


async def test_settings_show_no_secret_wherever_one_may_stand(tmp_path: Path):
    keys, secret = tmp_path / "keys", tmp_path / "secret"
    keys.write_text("from-file:hush-1\n")
    secret.write_text("hush-2-hush-2-hush-2")
    chosen: dict[str, Any] = {
        "admin_key": "hush-3",
        "api_keys": {"milvus": "hush-4"},
        "api_keys_file": keys,
        "cache_secret_file": secret,
        "redis_url": "redis://hush-5:hush-6@127.0.0.1:1",
        "worker_api_key": "hush-7",
    }
    secrets = {name for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)}
    assert secrets <= chosen.keys(), "a secret that this test doesn't plant"
    async with FakeVllm(api_key="hush-7").running() as worker:
        with_password = FakeVllm(url=worker.url.replace("http://", "http://hush-8:hush-9@"))
        # With a password in its URL the gateway sends that instead of the key.
        worker.api_key = None
        async with gateway(with_password, **chosen) as client:
            client.headers["Authorization"] = "Bearer hush-3"
            texts = [(await client.get(f"/admin/{path}")).text for path in ("settings", "workers", "cache", "stats")]
            shown = (await seen(client, "settings"))["settings"]
    assert not [text for text in texts if "hush" in text]
    assert shown.keys() == Settings.model_fields.keys()
    assert shown["api_keys"] == {"milvus": "**********", "from-file": "**********"}
    assert shown["workers"] == [worker.url.replace("http://", "http://**********@")]
    assert {shown[name] for name in ("admin_key", "redis_url", "worker_api_key")} == {"**********"}


async def test_settings_come_with_what_was_warned_about():
    async with gateway(FakeVllm(), deadline_s=31) as client:
        shown = await seen(client, "settings")
    assert shown["settings"]["deadline_s"] == 31
    assert [warning for warning in shown["warnings"] if "Milvus gives up" in warning]


async def test_figures_come_as_they_are_counted():
    models = {"tiny-reranker": {"aliases": ["the-default"]}}
    async with gateway(FakeVllm(), cache=True, models=models) as client:
        fresh = await seen(client, "stats")
        assert {name: fresh[name] for name in ("version", "is_draining", "needs_key", "interval_s")} == {
            "version": __version__,
            "is_draining": False,
            "needs_key": False,
            "interval_s": 2.0,
        }
        assert fresh["models"] == ["the-default", "tiny-reranker"]
        assert 0 < fresh["uptime_s"] < 60
        points = fresh["points"]
        async with asyncio.timeout(15):
            while not points:
                await asyncio.sleep(0.05)
                points = (await seen(client, "stats"))["points"]
            await rerank(client, ["a", "b", "a", "b"])
            while not points[-1]["requests"]:
                await asyncio.sleep(0.05)
                points = (await seen(client, "stats"))["points"]
    before, point = points[-2:]
    seconds = before["ago_s"] - point["ago_s"]
    assert (point["requests"] * seconds, point["documents"] * seconds) == pytest.approx((1, 4), rel=0.01)
    assert (point["errors"], point["shed"], point["hit_ratio"]) == (0, 0, 0.5)
    assert 0 < point["p50_s"] <= point["p99_s"]
    assert (point["queued_documents"], point["pending_documents"]) == (0, 0)
    assert 0 <= point["ago_s"] < 15


async def test_clients_that_need_a_key_are_told_of():
    async with gateway(FakeVllm(), api_keys="milvus:secret") as client:
        assert (await seen(client, "stats"))["needs_key"] is True


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/admin", 404),
        ("GET", "/admin/nothing", 404),
        ("POST", "/admin/workers/nothing", 404),
        ("POST", "/admin/workers", 405),
        ("GET", "/admin/workers/drain", 405),
        ("DELETE", "/admin/cache", 405),
    ],
)
async def test_what_is_not_there_is_told_in_the_shape_of_all_errors(method: str, path: str, code: int):
    async with gateway(FakeVllm()) as client:
        told = await client.request(method, path)
        assert told.status_code == code
        assert set(error_of(told)) == {"message", "type", "param", "code"}


async def test_each_change_is_one_line_in_the_log_and_what_is_refused_or_was_so_before_is_none():
    async with FakeVllm().running() as worker, FakeVllm().running() as other:
        async with running("serve", worker, other, ADMIN_KEY="hush-hush") as command:
            await command.until_usable()
            headers = {"Authorization": "Bearer hush-hush"}
            async with httpx.AsyncClient(base_url=command.url, headers=headers, timeout=20) as client:
                await until(lambda: command.text.count('"usable":true') == 2)
                for _ in range(2):
                    assert (await drain(client, worker)).status_code == 200
                assert (await drain(client, other)).status_code == 409
                for _ in range(2):
                    assert (await undrain(client, worker)).status_code == 200
                await client.post("/admin/cache/flush", json={"model": "tiny-reranker"})
                await client.post("/admin/cache/flush", json={"model": "nothing"})
                await command.until("cache_flushed")
        told = [
            line for line in command.events if line["event"] in {"worker_drained", "worker_undrained", "cache_flushed"}
        ]
        assert [(line["event"], line.get("worker", line.get("model"))) for line in told] == [
            ("worker_drained", name_of(worker)),
            ("worker_undrained", name_of(worker)),
            ("cache_flushed", "tiny-reranker"),
        ]
        assert "hush" not in command.text
