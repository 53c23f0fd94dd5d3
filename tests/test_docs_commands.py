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

WORKERS = {"gpu-1:8000", "gpu-2:8000"}
VALKEY = "redis://cache:6379"
COLLECTOR = "http://collector:4318"
SETTINGS = re.compile(r"^<!-- beside a gateway with (.+) -->$", re.MULTILINE)


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if block.language in {"bash", "python"} and block.is_run]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=lambda page: page.name)
async def test_every_command_of_a_page_works(page: Path, tmp_path: Path):
    copy = clone(tmp_path)
    lacking = []
    async with standing_in(machines_in(page), copy) as places, running("serve", **settings_of(page, places)) as gateway:
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


def settings_of(page: Path, places: Mapping[str, str]) -> dict[str, str]:
    """What a page says about the gateway that its commands ask."""
    said = placed(" ".join(SETTINGS.findall(page.read_text())), places)
    return dict(re.findall(r"RERANK_(\w+)=(\S+)", said))


def placed(text: str, places: Mapping[str, str]) -> str:
    """The text with the names of machines and files here."""
    for name, place in places.items():
        text = text.replace(name, place)
    return text


async def run(block: Block, places: Mapping[str, str], copy: Path) -> None:
    text = placed(block.text, places)
    command = text if block.language == "bash" else f"exec python - <<'END'\n{text}END"
    await (until_it_serves if block.mark == "serves" else to_its_end)(command, copy)


def machines_in(page: Path) -> set[str]:
    """The servers beside a gateway that a page names."""
    written = page.read_text()
    return {name for name in (*WORKERS, VALKEY, COLLECTOR) if name in written}


@asynccontextmanager
async def standing_in(machines: set[str], copy: Path) -> AsyncIterator[dict[str, str]]:
    """What the names in a page stand for here, but for the gateway."""
    (copy / "secret").write_text("16 bytes, and a few more")
    places = {"RERANK_HOST=0.0.0.0": "RERANK_HOST=127.0.0.1", "/run/secrets/cache": str(copy / "secret")}
    async with AsyncExitStack() as stack:
        for name in machines & WORKERS:
            worker = await stack.enter_async_context(FakeVllm(model="bge-reranker-v2-m3").running())
            places[name] = worker.url.removeprefix("http://")
        if VALKEY in machines:
            places[VALKEY] = (await stack.enter_async_context(valkey())).url
        if COLLECTOR in machines:
            places[COLLECTOR] = (await stack.enter_async_context(collecting())).url
        yield places


def is_there(name: str) -> bool:
    """Whether this machine has a command or a module."""
    return bool(shutil.which(name) or importlib.util.find_spec(name))
