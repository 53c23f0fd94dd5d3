"""That the parts of an overlay find each other, and only each other."""

import re
from typing import Any
from urllib.parse import urlsplit

import yaml

from checks.cluster import ROOT, Cluster, Resource, container, environment, labels_of, labels_selected, pod

SPREAD_OVER = {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
SCALED = {"HorizontalPodAutoscaler": "minReplicas", "ScaledObject": "minReplicaCount"}
# Whom a component lets through the policies, by the namespace it stands in.
FROM = {"Ingress": "ingress-nginx", "ServiceMonitor": "monitoring"}


def ports(deployment: Resource) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container(deployment)["ports"]}


def pods_of(cluster: Cluster, selector: Resource) -> Resource:
    """The one Deployment whose pods are selected."""
    wanted = labels_selected(selector).items()
    (only,) = [one for one in cluster.of("Deployment") if wanted <= labels_of(one).items()]
    return dict(only)


def services_named(cluster: Cluster, url: str) -> Resource:
    name, port = urlsplit(url).hostname or "", urlsplit(url).port
    service = cluster.named("Service", name)
    assert service, f"{url} leads to no Service"
    assert port in {one["port"] for one in service["spec"]["ports"]}, url
    return service


def policy(cluster: Cluster, deployment: Resource) -> dict[str, Any]:
    (only,) = cluster.selecting("NetworkPolicy", labels_of(deployment))
    spec: dict[str, Any] = only["spec"]
    return spec


def opens(rule: dict[str, Any], port: int | str) -> bool:
    return port in {one["port"] for one in rule["ports"]}


def squeezed(value: Any) -> Any:
    """The same with one space for any white space: kustomize breaks folded lines where PromQL doesn't care."""
    if isinstance(value, dict):
        return {key: squeezed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [squeezed(one) for one in value]
    return " ".join(value.split()) if isinstance(value, str) else value


def test_selectors_select_and_ports_lead_to_ports(cluster: Cluster):
    for deployment in cluster.of("Deployment"):
        assert labels_selected(deployment).items() <= labels_of(deployment).items()
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            for kind in {"httpGet", "tcpSocket"} & container(deployment).get(probe, {}).keys():
                assert container(deployment)[probe][kind]["port"] in ports(deployment)
    for service in cluster.of("Service"):
        assert {one["targetPort"] for one in service["spec"]["ports"]} <= ports(pods_of(cluster, service)).keys()
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        assert all(pods_of(cluster, one) for one in cluster.of(kind))


def test_volumes_are_mounted_and_mounts_have_volumes(cluster: Cluster):
    for deployment in cluster.of("Deployment"):
        mounted = {mount["name"] for mount in container(deployment).get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in pod(deployment).get("volumes", [])}


def test_files_that_settings_name_are_mounted(cluster: Cluster):
    gateway = cluster.named("Deployment", "rerank-gateway")
    assert gateway
    folders = [mount["mountPath"] for mount in container(gateway)["volumeMounts"]]
    named = [value for name, value in environment(cluster, gateway).items() if name.endswith("_FILE")]
    assert all(value.rpartition("/")[0] in folders for value in named)


def test_the_gateways_addresses_are_services_with_that_port(cluster: Cluster):
    gateway = cluster.named("Deployment", "rerank-gateway")
    assert gateway
    settings = environment(cluster, gateway)
    if workers := settings["RERANK_WORKERS"]:
        in_namespace = workers.replace("kubernetes://$(POD_NAMESPACE)/", "dns://")
        assert in_namespace.startswith("dns://")
        assert services_named(cluster, in_namespace)["spec"]["clusterIP"] == "None"
    if redis := settings.get("RERANK_REDIS_URL"):
        services_named(cluster, redis)


def test_a_variable_stands_behind_those_it_is_made_of(cluster: Cluster):
    for deployment in cluster.of("Deployment"):
        seen: set[str] = set()
        for variable in container(deployment).get("env", []):
            assert set(re.findall(r"\$\((\w+)\)", variable.get("value", ""))) <= seen
            seen.add(variable["name"])


def test_one_autoscaler_per_deployment_and_none_beside_a_fixed_number(cluster: Cluster):
    scalers = [one for kind in SCALED for one in cluster.of(kind)]
    targets = [one["spec"]["scaleTargetRef"]["name"] for one in scalers]
    assert len(targets) == len(set(targets))
    for deployment in cluster.of("Deployment"):
        assert ("replicas" in deployment["spec"]) is (deployment["metadata"]["name"] not in targets)


def test_gateways_and_workers_are_two_at_least_budgeted_and_spread(production: Cluster):
    least = {one["metadata"]["name"]: one["spec"].get("replicas", 0) for one in production.of("Deployment")}
    for kind, field in SCALED.items():
        least |= {one["spec"]["scaleTargetRef"]["name"]: one["spec"][field] for one in production.of(kind)}
    for name in ("rerank-gateway", "vllm"):
        deployment = production.named("Deployment", name)
        assert deployment
        assert least[name] >= 2
        (budget,) = production.selecting("PodDisruptionBudget", labels_of(deployment))
        assert budget["spec"]["maxUnavailable"] < least[name]
        spread = pod(deployment)["topologySpreadConstraints"]
        assert {one["topologyKey"] for one in spread} == SPREAD_OVER
        assert all(one["labelSelector"]["matchLabels"] == labels_of(deployment) for one in spread)
        assert "preStop" in container(deployment)["lifecycle"]


def test_every_pod_is_closed_but_for_what_is_listed(production: Cluster):
    for deployment in production.of("Deployment"):
        spec = policy(production, deployment)
        assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
        assert all(rule.get("from") and rule.get("ports") for rule in spec["ingress"])
        assert all(rule.get("ports") for rule in spec.get("egress", []))


def test_the_policies_open_what_the_parts_need(production: Cluster):
    gateway = production.named("Deployment", "rerank-gateway")
    assert gateway
    leaving = policy(production, gateway)["egress"]
    settings = environment(production, gateway)
    assert any(opens(rule, 8000) for rule in leaving)
    assert any(opens(rule, 53) for rule in leaving)
    assert any(opens(rule, 6379) for rule in leaving) is ("RERANK_REDIS_URL" in settings)
    assert any(opens(rule, 443) for rule in leaving) is settings["RERANK_WORKERS"].startswith("kubernetes://")
    for kind, namespace in FROM.items():
        sources = [source for rule in policy(production, gateway)["ingress"] for source in rule["from"]]
        labels = [source.get("namespaceSelector", {}).get("matchLabels", {}) for source in sources]
        let_in = {"kubernetes.io/metadata.name": namespace} in labels
        assert let_in is bool(production.of(kind)), kind


def test_what_is_reached_from_outside_asks_for_a_key(production: Cluster):
    gateway = production.named("Deployment", "rerank-gateway")
    assert gateway
    assert "RERANK_API_KEYS_FILE" in environment(production, gateway) or not production.of("Ingress")


def test_the_ingress_waits_longer_and_takes_more_than_the_gateway(cluster: Cluster):
    gateway = cluster.named("Deployment", "rerank-gateway")
    assert gateway
    for ingress in cluster.of("Ingress"):
        notes = ingress["metadata"]["annotations"]
        waits_s = float(notes["nginx.ingress.kubernetes.io/proxy-read-timeout"])
        assert waits_s > float(environment(cluster, gateway)["RERANK_DEADLINE_S"])
        assert notes["nginx.ingress.kubernetes.io/proxy-body-size"] == "32m"
        for path in [path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]:
            assert path["path"] not in {"/", "/admin", "/docs", "/metrics", "/openapi.json", "/ui"}
            target = path["backend"]["service"]
            service = cluster.named("Service", target["name"])
            assert service
            assert target["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}


def test_monitors_watch_a_service_and_call_the_job_what_the_rules_do(cluster: Cluster):
    scraped = yaml.safe_load((ROOT / "deploy" / "monitoring" / "prometheus.yml").read_text())["scrape_configs"]
    jobs = set()
    for monitor in cluster.of("ServiceMonitor"):
        wanted = labels_selected(monitor).items()
        (service,) = [one for one in cluster.of("Service") if wanted <= one["metadata"]["labels"].items()]
        jobs.add(service["metadata"]["labels"][monitor["spec"]["jobLabel"]])
        named = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= named
    assert not jobs or jobs == {one["job_name"] for one in scraped}


def test_the_rules_are_those_that_are_tested(cluster: Cluster):
    rules = yaml.safe_load((ROOT / "deploy" / "monitoring" / "rules.yaml").read_text())
    for resource in cluster.of("PrometheusRule"):
        assert squeezed(resource["spec"]) == squeezed(rules), "run `make manifests`"
