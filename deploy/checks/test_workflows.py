"""GitHub's workflows: what their schema says, and what keeps others from releasing in our name."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from checks.cluster import ROOT, TOOLS
from checks.test_tools import run

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").iterdir())
# What may write, and to what.
WRITERS = {
    ("image", "push"): {"packages", "id-token", "attestations"},
    ("release", "publish"): {"id-token"},
    ("release", "release"): {"contents", "id-token", "attestations"},
}


def jobs(workflow: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(workflow.read_text())["jobs"]
    return found


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(workflow).values() for step in job["steps"]]


@pytest.mark.parametrize(
    ("schema", "paths"),
    [
        ("github-workflows", WORKFLOWS),
        ("dependabot", [GITHUB / "dependabot.yml"]),
        ("github-issue-forms", [GITHUB / "ISSUE_TEMPLATE" / "bug.yml"]),
        ("github-issue-config", [GITHUB / "ISSUE_TEMPLATE" / "config.yml"]),
    ],
)
def test_github_understands_every_file(schema: str, paths: list[Path]):
    told = run(TOOLS / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *paths)
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_to_a_commit_whose_version_stands_beside_it(workflow: Path):
    used = re.findall(r"uses: (.*)", workflow.read_text())
    assert used
    for one in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one), one


def test_an_action_is_pinned_to_one_commit_everywhere():
    used = set(re.findall(r"uses: (\S+)", "".join(path.read_text() for path in WORKFLOWS)))
    assert len(used) == len({one.partition("@")[0] for one in used})


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_job_may_write_only_where_it_has_to(workflow: Path):
    assert yaml.safe_load(workflow.read_text())["permissions"] == {"contents": "read"}
    for name, job in jobs(workflow).items():
        writes = {what for what, how in job.get("permissions", {}).items() if how != "read"}
        assert writes == WRITERS.get((workflow.stem, name), set()), name


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_job_ends_and_leaves_no_credentials_behind(workflow: Path):
    assert all(job["timeout-minutes"] for job in jobs(workflow).values())
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_no_script_is_put_together_from_what_others_write(workflow: Path):
    assert "pull_request_target" not in workflow.read_text()
    assert not [step for step in steps(workflow) if "${{" in step.get("run", "")]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_target_that_is_made_exists_and_every_script_can_be_parsed(workflow: Path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for job in jobs(workflow).values():
        assert set(job.get("strategy", {}).get("matrix", {}).get("target", [])) <= targets
    for step in steps(workflow):
        script = step.get("run", "")
        assert set(re.findall(r"\bmake (?:--silent )?([a-z-]+)", script)) <= targets, script
        assert run("bash", "-n", "-c", script).returncode == 0, script
