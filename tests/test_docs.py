"""The documents name what is there, and all of it."""

import inspect
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import typer
import yaml
from fastapi import FastAPI

from app import errors
from app.api import paths
from app.api.dialects import PREFIXES, ROUTES
from app.api.responses import InternalError
from app.cli import cli
from app.errors import RerankError
from app.main import create_app
from app.settings import CLIENT_KEY, PREFIX, SECRETS_DIR, ModelSettings, Settings
from app.telemetry.metrics.catalog import METRICS
from app.tools.doctor import CHECKS
from tests.documents import PAGES, ROOT, blocks_of
from tests.running import until_ready

# Pages that speak of the gateway's routes only; the others speak of the workers' as well.
ROUTE_PAGES = [ROOT / "README.md", ROOT / "docs" / "api.md", ROOT / "docs" / "milvus.md"]
SOURCE = "\n".join(path.read_text() for path in sorted((ROOT / "app").rglob("*.py")))
# Texts that users see and that aren't ours: of Go, in Milvus, and of milvus-lite, whose source is at hand.
GO_ERRORS = {"context deadline exceeded", "connection refused"}
MILVUS_LITE_ERRORS = {"Unknown rerank provider", "Cohere API connection error"}


def named(pattern: str, *pages: Path) -> dict[str, set[str]]:
    """What `pattern` finds, by page."""
    return {page.name: set(re.findall(pattern, page.read_text())) for page in pages or PAGES}


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(Settings()).app


def test_the_generated_pages_are_what_the_settings_and_metrics_say():
    generated = runpy.run_path(str(ROOT / "docs" / "generate.py"))["PAGES"]
    assert {"api.md", "clients.md", "configuration.md", "metrics.md"} <= generated.keys()
    for name, written in generated.items():
        assert page(name) == written(), "run `make docs`"


def test_the_readme_begins_with_one_sentence_and_the_two_commands():
    readme = ROOT / "README.md"
    title, sentence, *_ = readme.read_text().split("\n\n")
    assert title == "# rerank-gateway"
    assert sentence.count(". ") == 0
    assert sentence.endswith(".")
    first = next(blocks_of(readme))
    assert [line.partition("#")[0].strip() for line in first.text.splitlines()] == ["make demo", "make test"]


def test_every_setting_that_is_named_exists():
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {f"{PREFIX}CONFIG", SECRETS_DIR, CLIENT_KEY}
    known.add("RERANK_BINDING_HOST")  # of LightRAG
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
    made = create_app(Settings(redis_url="redis://127.0.0.1:9", models={"m": ModelSettings()}))
    transport = httpx.ASGITransport(made)
    async with (
        made.app.router.lifespan_context(made),
        httpx.AsyncClient(transport=transport, base_url="http://g") as client,
    ):
        await until_ready(client)
        text = (await client.get("/metrics")).text
    shown = set(re.findall(r"^# TYPE (rerank_\w+)", text, re.MULTILINE))
    assert shown == set(re.findall(r"^\| `(rerank_\w+)`", page("metrics.md"), re.MULTILINE))


def test_every_route_that_is_named_exists_and_every_one_is_documented(app: FastAPI):
    known = set(routes(app))
    beginnings = {"/v1", "/v2", "/admin"} | {f"/{prefix}" for prefix in PREFIXES}
    for where, found in named(r"`(?:GET |POST )?(/[\w./-]*[a-z])`", *ROUTE_PAGES).items():
        assert {path for path in found - beginnings if not paths.scoring(path)} <= known, where
    for where, found in named(
        r"https?://(?:[\w:]+@)?(?:gateway|127\.0\.0\.1):8080(/[\w./-]*[a-z])", *ROUTE_PAGES
    ).items():
        assert {path for path in found - beginnings if not paths.scoring(f"{path}/rerank")} <= known, where
    documented = set(re.findall(r"`(?:GET|POST) (/[\w./{}-]+)`", page("api.md")))
    assert documented == {path.replace(":path", "") for path in known}


def test_what_stands_in_front_lets_every_route_and_every_dialects_name_through():
    let_in = set(yaml.safe_load((ROOT / "deploy/chart/files/paths.yaml").read_text()))
    needed = {*ROUTES, paths.INFO, paths.MODELS, "/models/NAME/rerank", *(f"/{name}/rerank" for name in PREFIXES)}
    needed |= {f"/{ending}" for ending in paths.ENDINGS} | {"/hf-inference/models/NAME/pipeline/sentence-similarity"}
    assert {path for path in needed if f"/{path.split('/')[1]}" not in let_in} == set()


def test_every_error_is_documented_with_its_status_and_type():
    ours = {error for _, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, RerankError)}
    real = {(str(error.status), error.kind) for error in (ours - {RerankError}) | {InternalError}}
    assert set(re.findall(r"^\| (\d{3}) \| `(\w+)` \|", page("api.md"), re.MULTILINE)) == real


def test_every_error_text_that_is_explained_is_one_that_can_be_read():
    texts = re.findall(r"^\| `(.+?)` \|", section("milvus.md", "Errors users see"), re.MULTILINE)
    assert len(texts) > 10
    # Long messages are joined from several literals in the source.
    source = re.sub(r'"\s*\n?\s*f?"', "", SOURCE)
    for text in set(texts) - GO_ERRORS - MILVUS_LITE_ERRORS:
        for fragment in text.split("…"):
            assert fragment.strip(" :.") in source, text


def test_the_errors_of_milvus_lite_that_are_explained_are_its_own():
    milvus_lite = pytest.importorskip("milvus_lite", exc_type=ImportError)
    source = "".join(path.read_text() for path in Path(milvus_lite.__file__).parent.glob("rerank/*.py"))
    for text in MILVUS_LITE_ERRORS:
        assert text in source, text


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


@pytest.mark.parametrize("source", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(source: Path):
    for target in re.findall(r"\]\(([^)]+)\)", source.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        aim = (source.parent / path).resolve() if path else source
        assert aim.exists(), target
        assert not anchor or anchor in anchors(aim), target


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
