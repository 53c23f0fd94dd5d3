"""Every fenced block of the documents is of a kind that is checked, and can be parsed. Those that can be run are."""

import json
import re
import subprocess

import httpx
import pytest
import yaml

from app.main import create_app
from app.settings import Settings
from tests.documents import PAGES, ROOT, Block, blocks
from tests.running import serving, until_ready


def test_every_block_is_in_a_language_that_is_checked():
    for block in blocks():
        assert block.language in {"bash", "python", "yaml", "json", "promql", ""}, block
        # tests/test_monitoring.py reads the queries there.
        assert block.language != "promql" or block.page.name == "runbook.md", block
    for page in PAGES:
        assert "~~~" not in page.read_text(), page


def test_every_comment_above_a_block_is_understood():
    marks = {"bash": r"|serves|needs [\w, -]+|not run: .{10,}", "python": r"|needs [\w, -]+|not run: .{10,}"}
    for block in blocks():
        assert re.fullmatch(marks.get(block.language, ""), block.mark), block
        for path in re.findall(r"(?:deploy|tests)/[\w./]+", block.mark):
            assert (ROOT / path).exists(), block


@pytest.mark.parametrize("block", blocks("bash"), ids=str)
def test_every_shell_example_can_be_parsed_and_names_files_that_exist(block: Block):
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
    for path in re.findall(r"(?<![\w./])(?:app|deploy|docs|tests)/[\w./-]+", block.text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_every_python_example_can_be_compiled(block: Block):
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_every_json_example_is_json(block: Block):
    assert json.loads(block.text)


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_every_yaml_example_can_be_parsed_and_every_setting_in_it_exists(block: Block):
    written = yaml.safe_load(block.text)
    if written.keys() & Settings.model_fields.keys():
        Settings(**written)


async def test_the_error_that_is_shown_is_the_one_that_is_answered():
    (shown,) = (json.loads(block.text) for block in blocks("json") if '"error"' in block.text)
    async with serving(create_app(Settings())) as url, httpx.AsyncClient(base_url=url) as client:
        await until_ready(client)
        answer = await client.post("/rerank", json={"query": "q", "documents": []})
    assert answer.json() == shown
