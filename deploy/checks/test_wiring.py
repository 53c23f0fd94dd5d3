"""That the parts of a release find each other, and only each other."""

import re
from typing import Any
from urllib.parse import urlsplit

from checks.cluster import Cluster, Resource, container, labels_of, labels_selected, pod, settings, workers

SPREAD_OVER = {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
SCALED = {"HorizontalPodAutoscaler": "minReplicas", "ScaledObject": "minReplicaCount"}
# Whom the policies let through, by the namespace it stands in.
FROM = {"Ingress": "ingress-nginx", "HTTPRoute": "envoy-gateway-system", "ServiceMonitor": "monitoring"}
GATEWAY = "rerank-gateway"


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
    named = [value for name, value in settings(cluster).items() if name.endswith("_file")]
    assert all(value.rpartition("/")[0] in folders for value in named)


def test_the_gateways_addresses_are_services_with_that_port(cluster: Cluster):
    chosen = settings(cluster)
    for address in chosen["workers"]:
        parts = urlsplit(address)
        if parts.scheme == "kubernetes":
            assert parts.hostname == "search"
            assert parts.path.endswith(":http")
        if parts.scheme in {"dns", "kubernetes"}:
            place = (parts.path or f"/{parts.netloc}").removeprefix("/").replace(":http", ":8000")
            assert services_named(cluster, f"dns://{place}")["spec"]["clusterIP"] == "None"
    if "example.com" not in (redis := chosen.get("redis_url", "example.com")):
        services_named(cluster, redis)


def test_every_model_has_an_entry_a_budget_and_labels_of_its_own(cluster: Cluster):
    models = settings(cluster).get("models", {})
    assert {labels_of(one)["rerank-gateway/model"] for one in workers(cluster)} <= models.keys()
    for worker in workers(cluster):
        for kind in ("PodDisruptionBudget", "Service"):
            (own,) = cluster.selecting(kind, labels_of(worker))
            assert own["metadata"]["name"] == worker["metadata"]["name"]


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
        is_marked = "rerank-gateway/replicas" in deployment["metadata"].get("annotations", {})
        assert is_marked is ("replicas" in deployment["spec"]) or "valkey" in deployment["metadata"]["name"]


def test_gateways_and_workers_are_two_at_least_budgeted_and_spread(production: Cluster):
    least = {one["metadata"]["name"]: one["spec"].get("replicas", 0) for one in production.of("Deployment")}
    for kind, field in SCALED.items():
        least |= {one["spec"]["scaleTargetRef"]["name"]: one["spec"][field] for one in production.of(kind)}
    for deployment in (production.named("Deployment", GATEWAY), *workers(production)):
        assert deployment
        name = deployment["metadata"]["name"]
        assert least[name] >= 2
        (budget,) = production.selecting("PodDisruptionBudget", labels_of(deployment))
        assert budget["spec"]["maxUnavailable"] < least[name]
        spread = pod(deployment)["topologySpreadConstraints"]
        assert {one["topologyKey"] for one in spread} == SPREAD_OVER
        assert all(one["labelSelector"]["matchLabels"] == labels_of(deployment) for one in spread)
        assert "preStop" in container(deployment)["lifecycle"]


def test_every_pod_is_closed_but_for_what_is_listed(cluster: Cluster):
    for deployment in cluster.of("Deployment"):
        spec = policy(cluster, deployment)
        assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
        assert all(rule.get("from") and rule.get("ports") for rule in spec["ingress"])
        assert all(rule.get("ports") for rule in spec.get("egress", []))


def test_the_policies_open_what_the_parts_need(cluster: Cluster):
    gateway = cluster.named("Deployment", GATEWAY)
    assert gateway
    leaving = policy(cluster, gateway)["egress"]
    chosen = settings(cluster)
    assert any(opens(rule, 8000) for rule in leaving) or not chosen["workers"]
    assert any(opens(rule, 5353 if cluster.name == "openshift" else 53) for rule in leaving)
    assert any(opens(rule, 6379) for rule in leaving) is ("redis_url" in chosen)
    watches = any(one.startswith("kubernetes://") for one in chosen["workers"])
    assert any(opens(rule, 443) for rule in leaving) is watches
    for kind, namespace in FROM.items():
        sources = [source for rule in policy(cluster, gateway)["ingress"] for source in rule["from"]]
        labels = [source.get("namespaceSelector", {}).get("matchLabels", {}) for source in sources]
        let_in = {"kubernetes.io/metadata.name": namespace} in labels
        assert let_in is bool(cluster.of(kind)), kind


def test_what_is_reached_from_outside_asks_for_a_key(cluster: Cluster):
    is_open = bool(cluster.of("Ingress") or cluster.of("HTTPRoute"))
    assert "api_keys_file" in settings(cluster) or not is_open


def test_the_ingress_waits_longer_and_takes_more_than_the_gateway(cluster: Cluster):
    for ingress in cluster.of("Ingress"):
        notes = ingress["metadata"]["annotations"]
        waits_s = float(notes["nginx.ingress.kubernetes.io/proxy-read-timeout"])
        assert waits_s > float(settings(cluster)["deadline_s"])
        assert notes["nginx.ingress.kubernetes.io/proxy-body-size"] == "32m"
        for path in [path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]:
            assert path["path"] not in {"/", "/admin", "/docs", "/metrics", "/openapi.json", "/ui"}
            target = path["backend"]["service"]
            service = cluster.named("Service", target["name"])
            assert service
            assert target["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}


def test_a_route_waits_longer_than_the_gateway_and_leads_to_it(cluster: Cluster):
    for route in cluster.of("HTTPRoute"):
        for rule in route["spec"]["rules"]:
            assert len(rule["matches"]) <= 8
            assert float(rule["timeouts"]["request"].removesuffix("s")) > float(settings(cluster)["deadline_s"])
            (target,) = rule["backendRefs"]
            assert services_named(cluster, f"http://{target['name']}:{target['port']}")


def test_monitors_watch_one_service_each(cluster: Cluster):
    for monitor in cluster.of("ServiceMonitor"):
        wanted = labels_selected(monitor).items()
        (service,) = [one for one in cluster.of("Service") if wanted <= one["metadata"]["labels"].items()]
        assert service["metadata"]["name"] == monitor["metadata"]["name"]
        named = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= named
    assert len(cluster.of("ServiceMonitor")) in {0, 1 + len(workers(cluster))}
