"""The commands and programs of the documents work.

The blocks of a page run in their order, in a copy of the tree and beside a gateway of their own. Names of machines in
them stand for servers that run here. Above a block that isn't run a comment says why; CONTRIBUTING.md has the rules.
"""

import asyncio
import importlib.util
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.cache.valkey import valkey
from tests.documents import PAGES, Block, blocks_of
from tests.fake_vllm import FakeVllm
from tests.integration.commands import free_port, running
from tests.otlp import collecting
from tests.shell import clone, shell, to_its_end, until_it_serves

SETTINGS = re.compile(r"^<!-- beside a gateway with (.+) -->$", re.MULTILINE)


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if block.language in {"bash", "python"} and block.is_run]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=lambda page: page.name)
async def test_every_command_of_a_page_works(page: Path, tmp_path: Path):
    copy = clone(tmp_path)
    lacking = []
    async with running("serve", **settings_of(page)) as gateway, standing_in(page, copy) as places:
        await gateway.until_usable()
        places |= {"http://127.0.0.1:8080": gateway.url, "http://gateway:8080": gateway.url}
        for block in runnable(page):
            (copy / "gateway.log").write_text(gateway.text)
            if absent := [name for name in block.needs if not is_there(name)]:
                lacking.append(f"{block} needs {', '.join(absent)}")
            else:
                await run(block, places, copy)
    if lacking:
        pytest.skip("; ".join(lacking))


async def test_make_demo_shows_a_first_ranking(tmp_path: Path):
    # Nothing is installed meanwhile: other tests need the environment.
    command = f"RERANK_PORT={free_port()} make --assume-old=.venv/.installed demo"
    async with shell(command, clone(tmp_path)) as process, asyncio.timeout(30):
        assert process.stdout
        shown = await process.stdout.readuntil(b"Ctrl-C stops it")
    assert b"The capital of France is Paris." in shown


def settings_of(page: Path) -> dict[str, str]:
    """What a page says about the gateway that its commands ask."""
    said = " ".join(SETTINGS.findall(page.read_text()))
    return dict(re.findall(r"RERANK_(\w+)=(\S+)", said))


async def run(block: Block, places: Mapping[str, str], copy: Path) -> None:
    text = block.text
    for name, place in places.items():
        text = text.replace(name, place)
    command = text if block.language == "bash" else f"exec python - <<'END'\n{text}END"
    await (until_it_serves if block.mark == "serves" else to_its_end)(command, copy)


@asynccontextmanager
async def standing_in(page: Path, copy: Path) -> AsyncIterator[dict[str, str]]:
    """What the names in a page stand for here, but for the gateway."""
    written = "".join(block.text for block in runnable(page))
    (copy / "secret").write_text("16 bytes, and a few more")
    places = {"RERANK_HOST=0.0.0.0": "RERANK_HOST=127.0.0.1", "/run/secrets/cache": str(copy / "secret")}
    async with AsyncExitStack() as stack:
        for name in ("http://gpu-1:8000", "http://gpu-2:8000"):
            if name in written:
                worker = await stack.enter_async_context(FakeVllm().running())
                places[name] = worker.url
        if "redis://cache:6379" in written:
            places["redis://cache:6379"] = (await stack.enter_async_context(valkey())).url
        if "http://collector:4318" in written:
            places["http://collector:4318"] = (await stack.enter_async_context(collecting())).url
        yield places


def is_there(name: str) -> bool:
    """Whether this machine has a command or a module."""
    return bool(shutil.which(name) or importlib.util.find_spec(name))
