"""What schemas and scanners say."""

import json
import os
import re
import subprocess
from pathlib import Path

import jsonschema
import yaml

from checks.cluster import ROOT, TOOLS, Cluster, render, set_ups, values_of

KUBERNETES_VERSION = "1.36"
# Kinds that operators add; kubernetes-validate knows Kubernetes's own.
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (Path(__file__).parent / "schemas").glob("*.json")}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    # The tools find each other, and git, but no settings of the developer's.
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT, env=environment)


def test_kubernetes_knows_every_field(cluster: Cluster, tmp_path: Path):
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(yaml.safe_dump_all(one for one in cluster.resources if one["kind"] not in SCHEMAS))
    told = run(TOOLS / "kubernetes-validate", "--strict", "--quiet", "-k", KUBERNETES_VERSION, rendered)
    # It only warns of kinds that it doesn't know.
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_operators_know_every_field(cluster: Cluster):
    for resource in cluster.resources:
        if schema := SCHEMAS.get(resource["kind"]):
            jsonschema.Draft202012Validator(schema).validate(resource)


def test_checkov_finds_nothing_but_the_reasoned_exceptions(tmp_path: Path):
    for values in set_ups():
        (tmp_path / values.name).write_text(render(values_of(values)))
    (tmp_path / "Dockerfile").write_text((ROOT / "Dockerfile").read_text())
    told = run(TOOLS / "checkov", "--config-file", "deploy/checkov.yaml", "--directory", tmp_path)
    assert told.returncode == 0, told.stdout + told.stderr
    passed = re.findall(r"(\w+) scan results:\s+Passed checks: [1-9]\d*, Failed checks: 0", told.stdout)
    assert sorted(passed) == ["dockerfile", "kubernetes"]


def test_hadolint_finds_nothing():
    told = run(TOOLS / "hadolint", "Dockerfile")
    assert told.returncode == 0, told.stdout
