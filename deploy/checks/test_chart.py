"""What the chart's values may be, what it says of mistakes, and that it is one release's alone."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from helm_python import Chart, HelmError, lint

from checks.cluster import CHART, EXAMPLES, NOTES, ROOT, Cluster, render, rendered, set_ups, settings, values_of

ONE = {"models": [{"name": "one"}]}
MONITORED = {"monitoring": {"enabled": True}, "keda": {"installed": True}}
SCALED = {"models": [{"name": "one", "autoscaling": {"minReplicas": 0}}], **MONITORED}


def refusal(values: dict[str, Any], **release: str) -> str:
    with pytest.raises(HelmError) as raised:
        render(values, **release)
    return str(raised.value)


def notes(values: dict[str, Any]) -> str:
    return rendered(values)[NOTES]


def kinds(values: dict[str, Any], **release: str) -> set[tuple[str, str]]:
    return {(one["kind"], one["metadata"]["name"]) for one in Cluster("x", render(values, **release)).resources}


def test_a_name_alone_is_a_model_with_all_that_it_needs():
    for kind in ("Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount"):
        assert {(kind, "rerank-one"), (kind, "rerank-gateway")} <= kinds(ONE)


def test_there_are_as_many_set_ups_as_were_promised():
    assert len(set_ups()) >= 12


def test_helm_finds_nothing_wrong():
    for values in set_ups():
        told = lint(str(CHART), values=values_of(values))
        assert "ERROR" not in json.dumps(told, default=str), told


def test_every_value_has_a_default_and_every_default_is_allowed():
    schema, defaults = json.loads((CHART / "values.schema.json").read_text()), values_of(CHART / "values.yaml")
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(defaults, schema)
    assert schema["properties"].keys() - {"global"} == defaults.keys()
    assert schema["properties"]["modelDefaults"]["properties"].keys() == defaults["modelDefaults"].keys()
    for name, part in schema["properties"].items():
        if "properties" in part and name not in {"global", "settings"}:
            assert part["additionalProperties"] is False, name
            assert part["properties"].keys() == defaults[name].keys(), name


def of_the_gateway(program: str, *arguments: str | Path) -> str:
    """What a program prints that may import the gateway."""
    python = ROOT / ".venv" / "bin" / "python"
    if not python.exists():
        pytest.skip("`make install` hasn't been run")
    told = subprocess.run([python, "-c", program, *arguments], capture_output=True, text=True, check=False, cwd=ROOT)
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_the_gateway_takes_the_settings_of_every_set_up(tmp_path: Path):
    (tmp_path / "secret").write_text("search:" + "a" * 64)
    for values in set_ups():
        text = yaml.safe_dump(settings(Cluster(values.stem, render(values_of(values)))))
        (tmp_path / values.name).write_text(re.sub(r"/etc/rerank-gateway/\S+", str(tmp_path / "secret"), text))
    program = (
        "import sys; from pathlib import Path; from app.settings import load, warnings_about;"
        "print([warning for path in sys.argv[1:] for warning in warnings_about(load(Path(path)))])"
    )
    assert "deadline_s" not in of_the_gateway(program, *tmp_path.glob("*.yaml"))


def test_the_schema_knows_the_gateways_settings():
    program = (
        "import json; from app.settings import ModelSettings, Settings;"
        "print(json.dumps([sorted(Settings.model_fields), sorted(ModelSettings.model_fields)]))"
    )
    own, of_models = json.loads(of_the_gateway(program))
    schema = json.loads((CHART / "values.schema.json").read_text())
    # Secrets have Secrets.
    assert schema["properties"]["settings"]["properties"].keys() == {*own} - {
        "api_keys",
        "admin_key",
        "worker_api_key",
    }
    assert [*schema["$defs"]["model"]["properties"]["settings"]["properties"]] == of_models


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": [{"name": "one"}]}, ["model"]),
        ({"models": [{"name": "One"}]}, ["/models/0/name"]),
        ({"models": [{"name": "gateway"}]}, ["/models/0/name"]),
        ({"models": [{"name": "one", "replica": 2}]}, ["/models/0", "replica"]),
        ({"models": [{"name": "one", "external": ["gpu-1:8000"]}]}, ["/models/0/external/0"]),
        ({"models": [{"name": "one", "external": ["http://gpu-1:8000"], "replicas": 2}]}, ["/models/0"]),
        ({"models": [{"name": "one", "settings": {"alias": ["x"]}}]}, ["/models/0/settings", "alias"]),
        ({"settings": {"dead_line_s": 3}}, ["/settings", "dead_line_s"]),
        ({"settings": {"api_keys": "search:hush"}}, ["/settings", "api_keys"]),
        ({"discovery": "consul"}, ["/discovery"]),
        ({"image": {"digest": "abc"}}, ["/image/digest"]),
        (
            {"models": [{"name": "one"}, {"name": "two"}, {"name": "one"}]},
            ["models[2] (one)", "stands twice", "replicas"],
        ),
        (
            {"models": [{"name": "one", "autoscaling": {}}]},
            ["models[0] (one).autoscaling", "install KEDA", "keda.installed=true"],
        ),
        (
            {"models": [{"name": "one", "replicas": 2, "storage": {"size": "50Gi"}}]},
            ["models[0] (one).storage", "ReadWriteOnce", "[ReadWriteMany]"],
        ),
        (
            {"models": [{"name": "one", "replicas": 2, "storage": {"existingClaim": "mine"}}]},
            ["models[0] (one).storage", "[ReadWriteMany]"],
        ),
        ({"models": [{"name": "one" * 20}]}, ["63 characters", "shorten"]),
        ({"valkey": {"enabled": True}}, ["secrets.cache"]),
        ({"ingress": {"enabled": True}}, ["ingress.host"]),
        ({"httpRoute": {"enabled": True}}, ["httpRoute.parentRefs"]),
    ],
)
def test_a_mistake_is_named_with_its_path_or_its_fix(values: dict[str, Any], words: list[str]):
    told = refusal(values)
    assert all(word in told or word.replace("/", ".").strip(".") in told for word in words), told


def test_the_notes_print_the_endpoint_for_milvus():
    assert '"endpoint": "http://rerank-gateway.search.svc:8080"' in notes(ONE)
    assert "https://" in notes(values_of(CHART / "ci" / "tls.yaml"))


def test_without_a_model_the_notes_say_what_is_scored_then():
    assert "scores are lexical" in notes({})
    assert "lexical" not in notes(ONE)
    assert "lexical" not in notes(values_of(CHART / "ci" / "external.yaml"))


@pytest.mark.parametrize("name", ["rules.yaml", "dashboard.json"])
def test_the_charts_copies_are_those_that_are_tested(name: str):
    copy, source = CHART / "files" / name, ROOT / "deploy" / "monitoring" / name
    assert copy.read_text() == source.read_text(), "run `make manifests`"


def test_rules_and_queries_are_one_releases_in_one_namespace():
    for namespace in ("search", "shop"):
        for name in ("rerank", "other"):
            made = Cluster("x", render(SCALED, name=name, namespace=namespace))
            (rules,), (scaled,) = made.of("PrometheusRule"), made.of("ScaledObject")
            own = f'namespace="{namespace}", job="{name}-gateway"'
            queries = [rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"]]
            queries += [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]]
            assert all(own in query for query in queries if not query.startswith("vector("))
            assert not [query for query in queries if query.count("job=") != query.count(own)]
            (monitor,) = [one for one in made.of("ServiceMonitor") if one["metadata"]["name"] == f"{name}-gateway"]
            assert "jobLabel" not in monitor["spec"], "the job is the Service's name"
            assert made.named("Service", f"{name}-gateway")
    text = render(SCALED, name="other", namespace="shop")
    assert 'job="rerank-gateway"' not in text


def test_two_releases_have_nothing_in_common():
    first, second = (Cluster(name, render(SCALED, name=name)) for name in ("one", "two"))
    assert not kinds(SCALED, name="one") & kinds(SCALED, name="two")
    for kind in ("Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor"):
        for resource in first.of(kind):
            selector = resource["spec"].get("selector") or resource["spec"]["podSelector"]
            assert selector.get("matchLabels", selector)["app.kubernetes.io/instance"] == "one", kind
    assert second.resources


def test_monitoring_needs_its_operator_or_a_word_that_it_is_there():
    assert not Cluster("x", render(ONE)).of("ServiceMonitor")
    assert len(Cluster("x", render(ONE | MONITORED)).of("ServiceMonitor")) == 2


def test_a_model_that_scales_to_zero_is_started_by_who_asks_and_never_shrunk_by_keda():
    made = Cluster("x", render(values_of(CHART / "ci" / "scale-to-zero.yaml")))
    (scaled,) = made.of("ScaledObject")
    spec = scaled["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (0, 2)
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    pending, asked = spec["triggers"]
    assert "rerank_model_pending_documents{" in pending["metadata"]["query"]
    assert "rerank_model_documents_total{" in asked["metadata"]["query"]
    assert asked["metadata"]["activationThreshold"] == "0"
    model = settings(made)["models"]["rare"]
    assert model == {"scales_to_zero": True, "start_s": 240}


def test_an_image_may_be_pinned():
    digest = "sha256:" + "a" * 64
    text = render({"image": {"repository": "registry.example.com/rerank-gateway", "digest": digest}})
    assert f"image: registry.example.com/rerank-gateway@{digest}" in text


def test_the_chart_can_be_packaged_for_a_registry(tmp_path: Path):
    archive = Path(Chart.load(str(CHART)).save(str(tmp_path)))
    packaged = Chart.load_archive(archive.read_bytes())
    assert packaged.render(ONE, name="rerank", namespace="search") == rendered(ONE)
    assert not [file for file in packaged.files if file["name"].startswith("ci/")]


def test_large_numbers_stay_whole():
    read = settings(Cluster("x", render({"settings": {"max_bytes_in_flight": 536870912, "cache_max_bytes": 2**31}})))
    assert (float(read["max_bytes_in_flight"]), float(read["cache_max_bytes"])) == (536870912, 2**31)


def test_examples_are_files_of_values():
    assert {path.name for path in EXAMPLES.iterdir()} == {"dev.yaml", "milvus.yaml", "prod.yaml"}


@pytest.mark.parametrize("values", set_ups(), ids=lambda path: path.stem)
def test_the_pod_of_helm_test_is_restricted_and_its_program_can_be_parsed(values: Path):
    (pod,) = [yaml.safe_load(text) for file, text in rendered(values_of(values)).items() if "/tests/" in file]
    (only,) = pod["spec"]["containers"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert only["securityContext"]["readOnlyRootFilesystem"]
    compile(only["args"][0], "test", "exec")
    assert ("/v1/rerank" in only["args"][0]) is ("apiKeys" not in values_of(values).get("secrets", {}))
