"""The commands that print, as processes of their own."""

import asyncio
import json
import shutil
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
import yaml

from app import __version__
from tests.fake_vllm import FakeVllm
from tests.integration.commands import run, running

ANY = "0.0.0.0"  # noqa: S104 - binding to all addresses is what is tested


async def test_version_prints_the_version():
    assert await run("version") == (0, f"{__version__}\n", "")


async def test_check_config_prints_settings_that_could_be_loaded_again(tmp_path: Path):
    first = await run("check-config", WORKERS="http://gpu-1:8000,http://gpu-2:8000", MAX_BATCH="32")
    assert (first.code, first.err) == (0, "")
    shown = yaml.safe_load(first.out)
    assert (shown["workers"], shown["max_batch"]) == (["http://gpu-1:8000", "http://gpu-2:8000"], 32)
    file = tmp_path / "again.yaml"
    file.write_text(first.out)
    assert await run("check-config", "--config", str(file)) == first
    assert await run("check-config", CONFIG=str(file)) == first


async def test_check_config_shows_no_secret(tmp_path: Path):
    keys = tmp_path / "keys"
    keys.write_text("filed:hush-3\n")
    shown = await run(
        "check-config",
        API_KEYS="given:hush-1",
        WORKER_API_KEY="hush-2",
        API_KEYS_FILE=str(keys),
        WORKERS="http://user:hush-4@gpu-1:8000",
    )
    assert (shown.code, shown.err) == (0, "")
    assert "hush" not in shown.out
    settings = yaml.safe_load(shown.out)
    assert settings["api_keys"].keys() == {"given", "filed"}
    assert settings["workers"] == ["http://**********@gpu-1:8000"]


async def test_check_config_warns_and_still_ends_with_0():
    told = await run("check-config", MAX_BACH="32", DEADLINE_S="40")
    assert told.code == 0
    assert "warning: RERANK_MAX_BACH is no setting; did you mean RERANK_MAX_BATCH?" in told.err
    assert "warning: RERANK_DEADLINE_S is 40, but Milvus gives up after 30 s" in told.err
    assert yaml.safe_load(told.out)["deadline_s"] == 40


@pytest.mark.parametrize("command", ["check-config", "serve"])
async def test_wrong_settings_end_a_command_with_2_and_one_line_each(command: str):
    told = await run(command, MAX_BATCH="none", PORT="tcp://10.0.0.1:8080")
    assert (told.code, told.out) == (2, "")
    first, second = told.err.splitlines()
    assert first.startswith("RERANK_PORT was set by Kubernetes")
    assert second.startswith("RERANK_MAX_BATCH: ")


async def test_a_file_that_is_no_text_ends_with_2_and_names_the_file(tmp_path: Path):
    file = tmp_path / "gateway.yaml"
    file.write_bytes(b"\xff\xfe")
    told = await run("check-config", "--config", str(file))
    assert (told.code, told.out, told.err) == (2, "", f"{file} is not YAML: it must be text in UTF-8\n")


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here")
async def test_the_demo_shows_a_ranking_and_a_curl_line_that_works_and_ctrl_c_ends_it():
    async with running("demo") as demo:
        await demo.until("Ctrl-C stops it.")
        place = demo.text.index("│    1 │")
        assert "The capital of France is Paris." in demo.text[place:].splitlines()[0]
        assert "no neural model" in demo.text
        lines = demo.lines
        start = next(number for number, line in enumerate(lines) if line.startswith("curl "))
        command = "\n".join(lines[start : lines.index("", start)])

        shell = await asyncio.create_subprocess_shell(command, stdout=PIPE, stderr=PIPE)
        answer = json.loads((await shell.communicate())[0])
        assert [row["index"] for row in answer["results"]] == [1, 0, 2]

        demo.tell(signal.SIGINT)
        assert await demo.ended(within_s=5) == 0
        assert "Traceback" not in demo.text


async def test_a_proxy_of_the_environment_has_no_part_in_it(monkeypatch: pytest.MonkeyPatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with FakeVllm().running() as worker, running("demo", worker) as demo:
        await demo.until("Ctrl-C stops it.")
        assert len(worker.scored) == 1


async def test_the_demo_shows_no_key_and_ranks_with_the_workers_that_are_set():
    async with FakeVllm().running() as worker, running("demo", worker, API_KEYS="me:hush", HOST=ANY) as demo:
        await demo.until("Ctrl-C stops it.")
        assert "hush" not in demo.text
        assert "Authorization: Bearer YOUR_KEY" in demo.text
        assert f"curl {demo.url}/v1/rerank" in demo.text
        assert "no neural model" not in demo.text
        assert len(worker.scored) == 1


async def test_sigterm_in_the_middle_of_the_start_ends_it():
    """As the first process of a container it would otherwise ignore the signal."""
    code = """
import os, signal, sys
from app.__main__ import main
class Terminate:
    def find_spec(self, name, path, target=None):
        if name == "app.cli":
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Terminate())
main()
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate()
    assert (process.returncode, out, err) == (128 + signal.SIGTERM, b"", b"")
