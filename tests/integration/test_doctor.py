"""`rerank-gateway doctor` as a process of its own."""

import asyncio
import json
import time

import pytest

from tests.fake_vllm import FakeVllm
from tests.integration.commands import run, running
from tests.listening import refusing_port
from tests.tools.conftest import by_beginning


async def test_a_healthy_gateway_is_all_green_and_ends_with_0_within_30_s():
    async with (
        FakeVllm(always=by_beginning).running() as one,
        FakeVllm(always=by_beginning).running() as other,
        running("serve", one, other) as gateway,
    ):
        await gateway.until_usable()
        started = time.monotonic()
        told = await run("doctor", gateway.url, WORKERS=f"{one.url},{other.url}")
    assert time.monotonic() - started < 30
    assert told.code == 0, told.out
    assert told.err == ""
    assert "0 yellow, 0 red" in told.out
    assert "green  milvus-2.6: POST /rerank of Milvus 2.6 is answered" in told.out
    assert "\x1b" not in told.out


@pytest.mark.long
async def test_without_a_url_the_settings_say_where_and_with_which_key():
    settings = {"API_KEYS": "milvus:hush-1", "WORKER_API_KEY": "hush-2"}
    async with (
        FakeVllm(always=by_beginning, api_key="hush-2").running() as worker,
        running("serve", worker, **settings) as gateway,
    ):
        await gateway.until_usable()
        place = {"PORT": gateway.url.rpartition(":")[2], "WORKERS": worker.url}
        told, lacking, given = await asyncio.gather(
            run("doctor", "--json", **settings, **place),
            run("doctor", gateway.url, "--json", WORKERS=worker.url),
            run("doctor", gateway.url, "--json", API_KEY="hush-1", WORKER_API_KEY="hush-2"),
        )
    assert (told.code, lacking.code, given.code) == (0, 1, 0), told.out
    report = json.loads(told.out)
    assert report.keys() == {"url", "worst", "checks"}
    assert all(check.keys() == {"id", "subject", "level", "seen", "fix"} for check in report["checks"])
    assert {check["level"] for check in report["checks"]} == {"green"}
    red = [check["id"] for check in json.loads(lacking.out)["checks"] if check["level"] == "red"]
    assert red == ["key", "worker-answers"]
    assert "hush" not in told.out + told.err + lacking.out + lacking.err + given.out + given.err


async def test_red_lines_have_their_fix_below_and_end_it_with_1():
    with refusing_port() as port:
        told = await run("doctor", f"http://any:hush@127.0.0.1:{port}/?secret=hush", "--key", "hush")
    assert told.code == 1
    lines = told.out.splitlines()
    (place,) = (number for number, line in enumerate(lines) if line.startswith("  red "))
    assert "nothing listens" in lines[place]
    assert lines[place + 1].startswith("         -> start the gateway")
    assert "hush" not in told.out + told.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gateway:8080"], "is no URL like http://gateway:8080"),
        (["http://u:hush@gateway:port"], "is no URL"),
        (["http://gateway", "--worker", "dns://nowhere"], "dns://host:port"),
    ],
)
async def test_an_address_that_is_none_ends_it_with_2(arguments: list[str], words: str):
    told = await run("doctor", *arguments)
    assert (told.code, told.out) == (2, "")
    assert words in told.err
    assert "hush" not in told.err


async def test_wrong_settings_end_it_with_2():
    told = await run("doctor", MAX_BATCH="none")
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("RERANK_MAX_BATCH: ")


async def test_a_gateway_with_the_clients_variable_for_its_keys_is_still_warned_about_it():
    told = await run("check-config", API_KEY="hush")
    assert "RERANK_API_KEY is no setting; did you mean RERANK_API_KEYS?" in told.err


async def test_what_milvus_waits_is_told_it_by_an_option():
    with refusing_port() as port:
        url = f"http://127.0.0.1:{port}"
        short, long = await asyncio.gather(
            run("doctor", url, "--json", DEADLINE_S="50"),
            run("doctor", url, "--json", "--timeout-ms", "60000", DEADLINE_S="50"),
        )
    for told, level in ((short, "red"), (long, "green")):
        assert {check["id"]: check["level"] for check in json.loads(told.out)["checks"]}["deadline"] == level
