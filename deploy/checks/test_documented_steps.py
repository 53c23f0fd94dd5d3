"""The steps of docs/kubernetes.md, word for word: as rendered differences, and in a cluster where KUBECONFIG names one.

`kubectl` is left out: what is waited for needs machines with GPUs.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from checks.cluster import ROOT, container

Objects = dict[tuple[str, str], dict[str, Any]]
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
STEPS = re.findall(r"<!-- not run: deploy/checks/test_documented_steps.py does -->\n```bash\n(.*?)```", PAGE, re.DOTALL)


def told(folder: Path, script: str) -> None:
    """Run a block as a reader would, in a copy of what it needs."""
    given = {name: os.environ[name] for name in ("HOME", "KUBECONFIG") if name in os.environ}
    given |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HELM_REVISIONS": str(folder / "revisions")}
    run = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env=given, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, script + run.stdout + run.stderr


@pytest.fixture(scope="module")
def revisions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Objects]]:
    """What each revision consists of, by kind and name."""
    folder = tmp_path_factory.mktemp("steps")
    shutil.copytree(ROOT / "deploy" / "chart", folder / "deploy" / "chart")
    (folder / "revisions").mkdir()
    (folder / "bin").mkdir()
    for name, program in (("helm", f'exec {sys.executable} {ROOT / "deploy/checks/helm.py"} "$@"'), ("kubectl", "")):
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{program}\n")
        (folder / "bin" / name).chmod(0o755)
    try:
        for step in STEPS:
            told(folder, step)
        yield [objects_of(path.read_text()) for path in sorted((folder / "revisions").iterdir())]
    finally:
        told(folder, "helm --namespace rerank uninstall rerank")


def objects_of(text: str) -> Objects:
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(text) if one}


def changed(before: Objects, after: Objects) -> set[tuple[str, str]]:
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def test_every_command_that_is_a_step_is_run(revisions: list[Objects]):
    assert len(STEPS) == 6
    assert len(revisions) == 5


def test_a_second_model_leaves_the_first_ones_workers_as_they_are(revisions: list[Objects]):
    one, two, *_ = revisions
    gone = one.keys() - two.keys()
    assert not gone
    new = {name for _, name in two.keys() - one.keys()}
    assert new == {"rerank-qwen"}
    # The helm test asks the default model, which was the only one before.
    assert changed(one, two) - (two.keys() - one.keys()) == {
        ("ConfigMap", "rerank-gateway"),
        ("Deployment", "rerank-gateway"),
        ("NetworkPolicy", "rerank-gateway"),
    }


def test_no_selector_ever_changes_as_the_api_server_would_refuse_it(revisions: list[Objects]):
    selectors = [
        {name: one["spec"]["selector"] for (kind, name), one in revision.items() if kind == "Deployment"}
        for revision in revisions
    ]
    assert all(later[name] == selector for later in selectors[1:] for name, selector in selectors[0].items())


def test_an_upgrade_changes_the_gateways_image_alone(revisions: list[Objects]):
    _, before, after, *_ = revisions
    gateway = ("Deployment", "rerank-gateway")
    assert changed(before, after) == {gateway, ("Pod", "rerank-gateway-test")}
    assert container(before[gateway])["image"] == "registry.example.com/rerank-gateway:0.1.0"
    assert container(after[gateway])["image"] == "registry.example.com/rerank-gateway:0.2.0"
    old, new = deepcopy(before[gateway]["spec"]), after[gateway]["spec"]
    old["template"]["spec"]["containers"][0]["image"] = container(after[gateway])["image"]
    assert old == new


def test_a_rollback_brings_back_what_was_before_and_the_next_upgrade_is_the_first_ones(revisions: list[Objects]):
    _, _, upgraded, back, again = revisions
    assert container(back["Deployment", "rerank-gateway"])["image"].endswith(":0.1.0")
    assert changed(upgraded, back) == {("Deployment", "rerank-gateway"), ("Pod", "rerank-gateway-test")}
    assert again == upgraded
