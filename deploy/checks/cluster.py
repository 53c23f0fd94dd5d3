"""What a cluster would get from the chart with some values, and how its parts belong together."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "deploy" / "chart"
EXAMPLES = ROOT / "deploy" / "examples"
TOOLS = Path(sys.executable).parent
RELEASE, NAMESPACE = "rerank", "search"
NOTES = "rerank-gateway/templates/NOTES.txt"

Resource = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """The resources that the chart renders to with some values.

    Args:
        name: Of the values' file.
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


def workers(cluster: Cluster) -> list[Resource]:
    """The Deployments of workers."""
    return [one for one in cluster.of("Deployment") if labels_of(one)["app.kubernetes.io/name"] == "vllm"]


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


def environment(deployment: Resource) -> dict[str, str]:
    """The variables a container starts with; those from a Secret as an empty text."""
    return {one["name"]: one.get("value", "") for one in container(deployment).get("env", [])}


def settings(cluster: Cluster) -> dict[str, Any]:
    """The gateway's settings file."""
    mounted = cluster.named("ConfigMap", "rerank-gateway")
    assert mounted
    read: dict[str, Any] = yaml.safe_load(mounted["data"]["settings.yaml"])
    return read


def known_settings() -> set[str]:
    """Every variable the gateway reads; the page is written from the settings themselves."""
    page = (ROOT / "docs" / "configuration.md").read_text()
    return set(re.findall(r"^\| `(RERANK_\w+)`", page, re.MULTILINE))


def set_ups() -> list[Path]:
    """The files of values that are meant to be installed, and those that are tried besides."""
    return sorted([*EXAMPLES.iterdir(), *(CHART / "ci").iterdir()], key=lambda path: path.name)


def values_of(path: Path) -> dict[str, Any]:
    """The values in a file."""
    read: dict[str, Any] = yaml.safe_load(path.read_text())
    return read


def rendered(values: Mapping[str, Any], *, name: str = RELEASE, namespace: str = NAMESPACE) -> dict[str, str]:
    """What `helm template` makes of the chart: text by template, the notes among them."""
    texts: dict[str, str] = Chart.load(str(CHART)).render(dict(values), name=name, namespace=namespace)
    return texts


def render(values: Mapping[str, Any], *, name: str = RELEASE, namespace: str = NAMESPACE) -> str:
    """The YAML of what is installed, without the notes and the pod of `helm test`."""
    texts = rendered(values, name=name, namespace=namespace)
    parts = [text.strip() for file, text in sorted(texts.items()) if file != NOTES and "/tests/" not in file]
    text = "\n".join(part if part.startswith("---") else f"---\n{part}" for part in parts if part)
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE) + "\n"
