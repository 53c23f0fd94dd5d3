"""The part of Helm that docs/kubernetes.md uses: renders each revision, and installs it where KUBECONFIG is.

Run as `python helm.py ...`; the revisions are files of YAML in the folder that HELM_REVISIONS names.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart, Config, parse_set_string

NOTES = "NOTES.txt"


def main() -> None:
    """Do what the command line says, as Helm would."""
    parser = argparse.ArgumentParser(prog="helm", allow_abbrev=False)
    parser.add_argument("--namespace", required=True)
    commands = parser.add_subparsers(dest="command", required=True)
    upgrade = commands.add_parser("upgrade", allow_abbrev=False)
    upgrade.add_argument("--namespace", required=True)
    upgrade.add_argument("--install", action="store_true", required=True)
    upgrade.add_argument("--create-namespace", action="store_true")
    upgrade.add_argument("--values", action="append", default=[])
    upgrade.add_argument("--set", action="append", default=[])
    upgrade.add_argument("name")
    upgrade.add_argument("chart")
    for command in ("rollback", "test", "uninstall"):
        commands.add_parser(command).add_argument("name")
    # Helm takes --namespace before the command and behind it.
    words = sys.argv[1:]
    given = parser.parse_args(words if words[0].startswith("-") else [*_namespace(words), *words])
    revisions = Path(os.environ["HELM_REVISIONS"])
    if given.command == "upgrade":
        _upgrade(given, revisions)
    elif given.command == "rollback":
        _roll_back(given, revisions)
    elif given.command == "uninstall":
        if cluster := _cluster(given.namespace):
            cluster.uninstall(given.name, ignore_not_found=True)
    elif not list(revisions.iterdir()):
        sys.exit(f"there is no release {given.name} to test")


def _namespace(words: list[str]) -> list[str]:
    place = words.index("--namespace")
    return words[place : place + 2]


def _upgrade(given: argparse.Namespace, revisions: Path) -> None:
    values: dict[str, Any] = {}
    for file in given.values:
        values = _merged(values, yaml.safe_load(Path(file).read_text()))
    for one in given.set:
        values = _merged(values, parse_set_string(one))
    is_first = not list(revisions.iterdir())
    if is_first and not given.create_namespace:
        sys.exit(f"the namespace {given.namespace} isn't there: say --create-namespace")
    texts = Chart.load(given.chart).render(values, name=given.name, namespace=given.namespace)
    if cluster := _cluster(given.namespace):
        if is_first:
            cluster.install(
                given.chart, given.name, values, namespace=given.namespace, create_namespace=given.create_namespace
            )
        else:
            cluster.upgrade(given.chart, given.name, values, namespace=given.namespace)
    _keep(revisions, "".join(f"---\n{text}\n" for file, text in sorted(texts.items()) if not file.endswith(NOTES)))


def _roll_back(given: argparse.Namespace, revisions: Path) -> None:
    if cluster := _cluster(given.namespace):
        cluster.rollback(given.name)
    *_, before, _ = sorted(revisions.iterdir())
    _keep(revisions, before.read_text())


def _keep(revisions: Path, text: str) -> None:
    (revisions / f"{len(list(revisions.iterdir())) + 1:02}.yaml").write_text(text)


def _cluster(namespace: str) -> Config | None:
    path = os.environ.get("KUBECONFIG")
    return Config(kubeconfig_path=path, namespace=namespace) if path else None


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    both = first | second
    return both | {
        key: _merged(first[key], second[key])
        for key in first.keys() & second.keys()
        if isinstance(first[key], dict) and isinstance(second[key], dict)
    }


if __name__ == "__main__":
    main()
