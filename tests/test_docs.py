"""The documents name what is there, and all of it."""

import asyncio
import inspect
import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import typer
import yaml
from fastapi import FastAPI

from app import errors
from app.api import dialects
from app.api.answers import InternalError
from app.cli import cli
from app.errors import RerankError
from app.main import create_app
from app.metrics.catalog import METRICS
from app.settings import CLIENT_KEY, PREFIX, SECRETS_DIR, ModelSettings, Settings
from app.tools.doctor import CHECKS
from tests.running import serving, until_ready

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
# Pages that speak of the gateway's routes only; the others speak of the workers' as well.
ROUTE_PAGES = [ROOT / "README.md", ROOT / "docs" / "api.md", ROOT / "docs" / "milvus.md"]
SOURCE = "\n".join(path.read_text() for path in sorted((ROOT / "app").rglob("*.py")))
# Texts of Milvus, milvus-lite and Go that users see: not ours, so not in our source.
FOREIGN_ERRORS = {"context deadline exceeded", "connection refused", "Unknown rerank provider"}


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    text: str


def blocks(language: str) -> list[Block]:
    fenced = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [Block(page, text) for page in PAGES for text in fenced.findall(page.read_text())]


def named(pattern: str, *pages: Path) -> dict[str, set[str]]:
    """What `pattern` finds, by page."""
    return {page.name: set(re.findall(pattern, page.read_text())) for page in pages or PAGES}


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def name_of(value: Path | Block) -> str:
    return (value if isinstance(value, Path) else value.page).name


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(Settings())


def test_the_generated_pages_are_what_the_settings_and_metrics_say():
    generated = runpy.run_path(str(ROOT / "docs" / "generate.py"))["PAGES"]
    assert {"configuration.md", "metrics.md"} <= generated.keys()
    for name, written in generated.items():
        assert page(name) == written(), "run `make docs`"


def test_the_readme_begins_with_one_sentence_and_the_two_commands():
    title, sentence, block = (ROOT / "README.md").read_text().split("\n\n")[:3]
    assert title == "# rerank-gateway"
    assert sentence.count(". ") == 0
    assert sentence.endswith(".")
    commands = [line.partition("#")[0].strip() for line in block.strip("`").splitlines()[1:] if line]
    assert commands == ["make demo", "make test"]


def test_every_setting_that_is_named_exists():
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {f"{PREFIX}CONFIG", SECRETS_DIR, CLIENT_KEY}
    for where, found in named(r"\bRERANK_[A-Z][A-Z_]*").items():
        assert found <= known, where


def test_the_readmes_defaults_are_the_real_ones():
    rows = re.findall(r"^\| ((?:`RERANK_\w+`(?:, )?)+) \| (.+?) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(rows) > 5
    for variables, defaults in rows:
        names = [variable.strip("`").removeprefix(PREFIX).lower() for variable in variables.split(", ")]
        real = [Settings.model_fields[name].default for name in names]
        shown = ["none" if value in (None, (), {}) else f"`{value}`".replace(".0`", "`") for value in real]
        assert defaults in {", ".join(shown), ", ".join(dict.fromkeys(shown))}, variables


def test_every_command_that_is_named_exists():
    known = set(typer.main.get_group(cli).commands)
    assert {"serve", "demo", "check-config"} <= known
    for where, found in named(r"rerank-gateway ([a-z-]+)(?=[`\s])").items():
        assert found - {"in", "is"} <= known, where


def test_every_make_target_that_is_named_exists():
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for where, found in named(r"(?:`|^)make ([a-z-]+)\b").items():
        assert found <= known, where


def test_every_metric_that_is_named_exists():
    known = {declared.name for declared in METRICS}
    # A file of secrets is named like its setting.
    known |= {f"{PREFIX}{name}".lower() for name in Settings.model_fields}
    known |= {f"{one.name}_{part}" for one in METRICS if one.kind == "histogram" for part in ("bucket", "count", "sum")}
    deployed = [path for path in (ROOT / "deploy").rglob("*") if path.suffix in {".yml", ".yaml", ".json", ".md"}]
    # What stands between colons is the name of a recording rule.
    for where, found in named(r"(?<!:)\brerank_(?!gateway)[a-z_]+\b(?!:)", *PAGES, *deployed).items():
        assert found <= known, where


async def test_every_metric_that_is_shown_is_documented_and_the_other_way_round():
    # Nobody listens there: what shows Redis is shown all the same.
    made = create_app(Settings(redis_url="redis://127.0.0.1:9"))
    transport = httpx.ASGITransport(made)
    async with (
        made.router.lifespan_context(made),
        httpx.AsyncClient(transport=transport, base_url="http://g") as client,
    ):
        await until_ready(client)
        text = (await client.get("/metrics")).text
    shown = set(re.findall(r"^# TYPE (rerank_\w+)", text, re.MULTILINE))
    assert shown == set(re.findall(r"^\| `(rerank_\w+)`", page("metrics.md"), re.MULTILINE))


def test_every_route_that_is_named_exists_and_every_one_is_documented(app: FastAPI):
    known = set(routes(app))
    for where, found in named(r"`(?:GET |POST )?(/[\w./-]*[a-z])`", *ROUTE_PAGES).items():
        assert found - {"/v1", "/v2"} <= known, where
    for where, found in named(
        r"https?://(?:[\w:]+@)?(?:gateway|127\.0\.0\.1):8080(/[\w./-]*[a-z])", *ROUTE_PAGES
    ).items():
        assert found <= known, where
    documented = set(re.findall(r"`(?:GET|POST) (/[\w./]+)`", page("api.md")))
    assert documented == known


def test_every_dialect_is_documented_and_no_other():
    table = section("api.md", "Shapes").partition("The first rule")[0]
    names = set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))
    assert names == set(dialects._BY_NAME) | {"score"}


def test_every_error_is_documented_with_its_status_and_type():
    ours = {error for _, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, RerankError)}
    real = {(str(error.status), error.type) for error in (ours - {RerankError}) | {InternalError}}
    assert set(re.findall(r"^\| (\d{3}) \| `(\w+)` \|", page("api.md"), re.MULTILINE)) == real


def test_every_error_text_that_is_explained_is_one_that_can_be_read():
    texts = re.findall(r"^\| `(.+?)` \|", section("milvus.md", "Errors users see"), re.MULTILINE)
    assert len(texts) > 10
    # Long messages are joined from several literals in the source.
    source = re.sub(r'"\s*\n?\s*f?"', "", SOURCE)
    for text in set(texts) - FOREIGN_ERRORS:
        for fragment in text.split("…"):
            assert fragment.strip(" :.") in source, text


def test_every_module_that_is_named_exists_and_every_one_is_documented():
    for where, found in named(r"`((?:app|bench|tests|docs)/[\w./]*)`").items():
        assert not [path for path in found if not (ROOT / path).exists()], where
    text = page("architecture.md")
    for path in (ROOT / "app").rglob("*.py"):
        place = path.relative_to(ROOT).as_posix()
        listed = any(f"`{parent.as_posix()}/`" in text for parent in Path(place).parents)
        assert path.name == "__init__.py" or f"`{place}`" in text or listed, place
    pure = {path.stem for path in (ROOT / "app" / "policy").glob("[a-z]*.py")}
    assert pure == set(re.findall(r"`(\w+)`", next(line for line in text.splitlines() if "`app/policy/`" in line)))


def test_every_check_of_the_doctor_is_documented_and_no_other():
    rows = re.findall(r"^\| ((?:`[\w.-]+`(?:, )?)+) \|", section("doctor.md", "Every check"), re.MULTILINE)
    documented = [check for row in rows for check in re.findall(r"`([\w.-]+)`", row)]
    assert documented == [check for checks in CHECKS.values() for check in checks]


def test_every_decision_has_its_four_parts():
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        text = path.read_text()
        assert text.startswith(f"# {path.name[:4]}: "), path.name
        assert re.search(r"^Status: \w+", text, re.MULTILINE), path.name
        assert re.findall(r"^## (\w+)", text, re.MULTILINE) == ["Context", "Decision", "Consequences"], path.name


@pytest.mark.parametrize("source", PAGES, ids=name_of)
def test_every_link_leads_somewhere(source: Path):
    for target in re.findall(r"\]\(([^)]+)\)", source.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        aim = (source.parent / path).resolve() if path else source
        assert aim.exists(), target
        assert not anchor or anchor in anchors(aim), target


@pytest.mark.parametrize("block", blocks("yaml"), ids=name_of)
def test_every_yaml_example_is_understood(block: Block):
    written = yaml.safe_load(block.text)
    if "models" in written:
        models = Settings(**written).models
        assert all(isinstance(model, ModelSettings) for model in models.values())


@pytest.mark.parametrize("block", blocks("json"), ids=name_of)
def test_every_json_example_is_json(block: Block):
    assert json.loads(block.text)


@pytest.mark.parametrize("block", blocks("python"), ids=name_of)
def test_every_python_example_can_be_compiled(block: Block):
    compile(block.text, block.page.name, "exec")


@pytest.mark.parametrize("block", blocks("bash"), ids=name_of)
def test_every_shell_example_can_be_parsed(block: Block):
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


@pytest.mark.parametrize("block", [block for block in blocks("bash") if block.text.startswith("curl ")], ids=name_of)
async def test_every_curl_example_works(app: FastAPI, block: Block):
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        await until_ready(client)
        answer = await asked(client, shlex.split(block.text.replace("\\\n", " ")))
    assert answer.status_code == 200, answer.text


async def test_the_cohere_example_of_the_readme_works(app: FastAPI):
    (example,) = (block for block in blocks("python") if "cohere.ClientV2" in block.text)
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        await until_ready(client)
        code = example.text.replace("http://127.0.0.1:8080", url)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
        assert await process.wait() == 0


def routes(app: FastAPI) -> Iterator[str]:
    """The paths of the gateway, without what the pages under /docs load."""
    yield from app.openapi()["paths"]
    served = {getattr(route, "path", "") for route in app.routes}
    yield from served & {"/docs", "/openapi.json"}


def section(name: str, title: str) -> str:
    return page(name).partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def anchors(target: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


async def asked(client: httpx.AsyncClient, curl: list[str]) -> httpx.Response:
    """The answer to a curl command of ours: an address, headers and a body."""
    given: dict[str, Any] = {"headers": {}}
    words = iter(curl[1:])
    for word in words:
        match word:
            case "-H":
                name, _, value = next(words).partition(": ")
                given["headers"][name] = value
            case "-d":
                given["content"] = next(words)
            case _:
                path = httpx.URL(word).raw_path.decode()
    return await client.request("POST" if "content" in given else "GET", path, **given)
