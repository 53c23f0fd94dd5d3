"""Policies decide; they don't look at clocks, draw lots or talk to anybody."""

import ast
from pathlib import Path

import pytest

import app.policy

FORBIDDEN = {"asyncio", "time", "httpx", "aiohttp", "logging", "structlog", "socket", "os"}
FILES = sorted(Path(app.policy.__path__[0]).glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_policy_imports_nothing_that_has_effects(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            assert node.module != "random" or [alias.name for alias in node.names] == ["Random"]
        assert not {name.partition(".")[0] for name in names} & FORBIDDEN


def test_every_policy_has_its_tests():
    tested = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert {path.stem for path in FILES} - {"__init__"} <= tested
