"""What `make sbom` has built installs, runs, and is what it says. `make release-check` runs this."""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZipFile

import pytest
import yaml

from app import __version__
from tests.documents import ROOT
from tests.integration.commands import free_port
from tests.shell import shell

DIST = ROOT / "dist"
WHEEL = DIST / f"rerank_gateway-{__version__}-py3-none-any.whl"
SDIST = DIST / f"rerank_gateway-{__version__}.tar.gz"
INSTALLED = ROOT / ".venv-dist"
COMMAND = INSTALLED / "bin" / "rerank-gateway"
# Of everything that is installed with the gateway. None of these reaches the code of whoever installs it.
ALLOWED = {
    *("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "PSF-2.0", "Python-2.0"),
    "License :: OSI Approved :: Apache Software License",
    "License :: OSI Approved :: BSD License",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)",
}


@pytest.fixture(scope="module")
def sbom() -> dict[str, Any]:
    written: dict[str, Any] = json.loads((DIST / "rerank-gateway.cdx.json").read_text())
    return written


def test_the_wheel_holds_the_package_and_its_licence_and_nothing_else():
    files = set(ZipFile(WHEEL).namelist())
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "app").rglob("*.*") if path.suffix != ".pyc"}
    about = f"rerank_gateway-{__version__}.dist-info/"
    assert {name for name in files if not name.startswith(about)} == package
    assert f"{about}licenses/LICENSE" in files


def test_the_sdist_holds_what_the_wheel_is_built_from():
    with tarfile.open(SDIST) as archive:
        files = [PurePosixPath(name).parts[1:] for name in archive.getnames()]
    written = {"app", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"}
    assert {parts[0] for parts in files} == written | {"PKG-INFO", ".gitignore"}


def test_the_sdist_builds_the_same_wheel(tmp_path: Path):
    with tarfile.open(SDIST) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (again,) = (source / "dist").iterdir()
    assert again.name == WHEEL.name
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(WHEEL.read_bytes()).digest()


def test_the_version_is_the_same_wherever_it_is_written():
    told = subprocess.run([COMMAND, "version"], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == __version__
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE)[0] == __version__
    chart = yaml.safe_load((ROOT / "deploy" / "chart" / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_every_requirement_is_met():
    python = str(INSTALLED / "bin" / "python")
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "check"], check=True)


async def test_the_installed_gateway_shows_a_first_ranking(tmp_path: Path):
    command = f"PYTHONPATH= RERANK_PORT={free_port()} {COMMAND} demo"
    (tmp_path / "empty").mkdir()
    async with shell(command, tmp_path / "empty") as process:
        assert process.stdout
        shown = await process.stdout.readuntil(b"Ctrl-C stops it")
    assert b"The capital of France is Paris." in shown


def test_the_sbom_lists_what_is_installed_in_the_pinned_versions(sbom: dict[str, Any]):
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    listed = {re.sub(r"[_.]", "-", one["name"]).lower(): one["version"] for one in sbom["components"]}
    assert listed.items() <= pinned.items()
    installed = [path for path in INSTALLED.rglob("*.dist-info") if not path.name.startswith("rerank_gateway-")]
    assert len(listed) == len(installed)
    assert sbom["metadata"]["component"]["version"] == __version__


def test_every_licence_is_allowed(sbom: dict[str, Any]):
    for component in sbom["components"]:
        assert licences_of(component), component["name"]
        assert licences_of(component) <= ALLOWED, component["name"]


def licences_of(component: dict[str, Any]) -> set[str]:
    """Every licence that a component's author names, whether all of them apply or one of them may be chosen."""
    found = set()
    for stated in component.get("licenses", []):
        one = stated.get("license", {})
        expression = stated.get("expression", "")
        found |= {one.get("id") or one.get("name", "")} | set(re.split(r" AND | OR |[()]", expression))
    return found - {""}
