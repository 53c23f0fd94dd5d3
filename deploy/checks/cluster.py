"""What a cluster would get from an overlay, and how its parts belong together."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
KUBERNETES = ROOT / "deploy" / "kubernetes"
TOOLS = Path(sys.executable).parent

Resource = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """The resources that one overlay renders to.

    Args:
        name: The overlay's, or the component's that is tried over the bases.
        text: The rendered YAML.
    """

    name: str
    text: str

    def __str__(self) -> str:
        return self.name

    @cached_property
    def resources(self) -> list[Resource]:
        return [resource for resource in yaml.safe_load_all(self.text) if resource]

    def of(self, kind: str) -> list[Resource]:
        """All resources of one kind."""
        return [resource for resource in self.resources if resource["kind"] == kind]

    def named(self, kind: str, name: str) -> Resource | None:
        """The resource of this kind and name, if there is one."""
        return next((one for one in self.of(kind) if one["metadata"]["name"] == name), None)

    def selecting(self, kind: str, labels: Mapping[str, str]) -> list[Resource]:
        """The resources of one kind whose selector takes pods with these labels."""
        return [one for one in self.of(kind) if labels_selected(one).items() <= labels.items()]


def labels_selected(resource: Resource) -> dict[str, str]:
    """The labels that a Service, Deployment, budget, policy or monitor asks of what it selects."""
    spec = resource["spec"]
    selector: dict[str, Any] = spec.get("selector") or spec["podSelector"]
    labels: dict[str, str] = selector.get("matchLabels", selector)
    return labels


def pod(deployment: Resource) -> Resource:
    """The pod's spec of a Deployment."""
    spec: Resource = deployment["spec"]["template"]["spec"]
    return spec


def labels_of(deployment: Resource) -> dict[str, str]:
    """The labels of a Deployment's pods."""
    labels: dict[str, str] = deployment["spec"]["template"]["metadata"]["labels"]
    return labels


def container(deployment: Resource) -> Resource:
    """The one container of a Deployment's pods."""
    (only,) = pod(deployment)["containers"]
    return dict(only)


def environment(cluster: Cluster, deployment: Resource) -> dict[str, str]:
    """The variables a container starts with; those from a Secret as an empty text."""
    found: dict[str, str] = {}
    for source in container(deployment).get("envFrom", []):
        settings = cluster.named("ConfigMap", source["configMapRef"]["name"])
        assert settings, f"{deployment['metadata']['name']} reads a ConfigMap that is not there"
        found |= settings["data"]
    return found | {one["name"]: one.get("value", "") for one in container(deployment).get("env", [])}


def known_settings() -> set[str]:
    """Every variable the gateway reads; the page is written from the settings themselves."""
    page = (ROOT / "docs" / "configuration.md").read_text()
    return set(re.findall(r"^\| `(RERANK_\w+)`", page, re.MULTILINE))


def overlays() -> list[Path]:
    """The folders of what is meant to be installed."""
    return sorted((KUBERNETES / "overlays").iterdir())


def components() -> list[Path]:
    """The folders of what an overlay may add to the bases."""
    return sorted((KUBERNETES / "components").iterdir())


def alone(component: Path, scratch: Path) -> Path:
    """An overlay of both bases and one component, as somebody may write it.

    Args:
        component: Its folder.
        scratch: An empty folder.
    """
    bases = [KUBERNETES / "base" / "gateway", KUBERNETES / "base" / "worker"]
    overlay = {
        "resources": [os.path.relpath(base.resolve(), scratch.resolve()) for base in bases],
        "components": [os.path.relpath(component.resolve(), scratch.resolve())],
    }
    (scratch / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return scratch


def render(folder: Path) -> str:
    """What `kubectl kustomize` makes of a folder."""
    command = [str(TOOLS / "kubectl"), "kustomize", str(folder)]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, timeout=60).stdout
