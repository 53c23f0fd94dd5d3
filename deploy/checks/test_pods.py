"""What every pod must be like."""

import re
from hashlib import sha256

from checks.cluster import Cluster, Resource, container, environment, known_settings, pod, settings, workers

# What a gateway that stops gives to heads that are half sent, and to answers to get out after their deadlines.
HALF_HEAD_S, LAST_WORDS_S = 10, 2
# Measured with bodies of 30 MiB, each document with a character of four bytes: 1.3 GB while it held 256 MiB of them.
MEMORY_PER_HELD_BYTE = 5
# The process by itself, and the cache.
OWN_MEMORY_BYTES = 256 * 2**20
GATEWAY = "rerank-gateway"
CHOOSES_USERS = {"openshift"}


def the(kind: str, name: str, cluster: Cluster) -> Resource:
    found = cluster.named(kind, name)
    assert found, f"{cluster} has no {kind} {name}"
    return found


def pause_s(deployment: Resource) -> int:
    return int(container(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"])


def option(deployment: Resource, name: str) -> str:
    words: list[str] = container(deployment)["args"]
    return next(word.partition("=")[2] for word in words if word.startswith(f"{name}="))


def test_pods_meet_the_restricted_standard(cluster: Cluster):
    for deployment in cluster.of("Deployment"):
        whole, own = pod(deployment)["securityContext"], container(deployment)["securityContext"]
        assert whole["runAsNonRoot"]
        assert whole.get("runAsUser", 0) > 0 or cluster.name in CHOOSES_USERS
        assert "runAsUser" not in whole or cluster.name not in CHOOSES_USERS
        assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod(deployment).keys()
        volumes = [volume.keys() - {"name"} for volume in pod(deployment).get("volumes", [])]
        assert all(kind <= {"emptyDir", "secret", "configMap", "persistentVolumeClaim"} for kind in volumes)


def test_no_service_gives_pods_variables(cluster: Cluster):
    assert all(pod(deployment)["enableServiceLinks"] is False for deployment in cluster.of("Deployment"))
    assert "rerank" not in {service["metadata"]["name"] for service in cluster.of("Service")}


def test_only_a_pod_that_asks_the_api_server_has_a_token(cluster: Cluster):
    for deployment in cluster.of("Deployment"):
        is_gateway = deployment["metadata"]["name"] == GATEWAY
        asks = is_gateway and any(one.startswith("kubernetes://") for one in settings(cluster)["workers"])
        assert pod(deployment)["automountServiceAccountToken"] is asks
        assert cluster.of("Role") or not asks


def test_a_role_reads_endpoint_slices_and_nothing_else(cluster: Cluster):
    for role in cluster.of("Role"):
        (rule,) = role["rules"]
        assert (rule["apiGroups"], rule["resources"]) == (["discovery.k8s.io"], ["endpointslices"])
        assert set(rule["verbs"]) == {"list", "watch"}
        (subject,) = the("RoleBinding", role["metadata"]["name"], cluster)["subjects"]
        account = the("ServiceAccount", subject["name"], cluster)
        assert (account["kind"], subject["namespace"]) == ("ServiceAccount", "search")
    assert not cluster.of("ClusterRole")


def test_every_setting_exists(cluster: Cluster):
    gateway = the("Deployment", GATEWAY, cluster)
    named = {name for name in environment(gateway) if name.startswith("RERANK_")} - {"RERANK_CONFIG"}
    assert named <= known_settings()
    assert {f"RERANK_{name.upper()}" for name in settings(cluster)} <= known_settings() | {"RERANK_MODELS"}


def test_a_changed_setting_is_a_rollout(cluster: Cluster):
    gateway = the("Deployment", GATEWAY, cluster)
    text = the("ConfigMap", GATEWAY, cluster)["data"]["settings.yaml"].rstrip("\n")
    notes = gateway["spec"]["template"]["metadata"]["annotations"]
    assert notes["rerank-gateway/settings"] == sha256(text.encode()).hexdigest()[:16]


def test_secrets_come_by_reference(cluster: Cluster):
    assert not cluster.of("Secret")
    assert not re.search(r"(?i)(api_?key|secret|token|password): \S*[0-9a-f]{16}", cluster.text)


def test_images_have_a_tag_that_stays(cluster: Cluster):
    for deployment in cluster.of("Deployment"):
        name, _, tag = container(deployment)["image"].rpartition(":")
        assert name, deployment["metadata"]["name"]
        assert re.match(r"v?\d+\.\d+", tag), tag


def test_memory_is_limited_and_cpu_is_not(cluster: Cluster):
    for deployment in cluster.of("Deployment"):
        resources = container(deployment)["resources"]
        assert {"cpu", "memory"} <= resources["requests"].keys()
        assert "memory" in resources["limits"]
        assert "cpu" not in resources["limits"]


def test_the_requests_a_gateway_may_hold_fit_its_memory(cluster: Cluster):
    gateway = the("Deployment", GATEWAY, cluster)
    limit = container(gateway)["resources"]["limits"]["memory"]
    limit_bytes = int(limit.removesuffix("Gi")) * 2**30
    held_bytes = int(settings(cluster)["max_bytes_in_flight"])
    assert MEMORY_PER_HELD_BYTE * held_bytes + OWN_MEMORY_BYTES <= limit_bytes


def test_the_gateway_is_alive_by_itself_and_ready_by_its_workers(cluster: Cluster):
    gateway = container(the("Deployment", GATEWAY, cluster))
    paths = {name: gateway[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}


def test_a_gateway_has_time_to_answer_what_it_holds(cluster: Cluster):
    gateway = the("Deployment", GATEWAY, cluster)
    chosen = settings(cluster)
    held_s = float(chosen["drain_s"]) + HALF_HEAD_S + float(chosen["deadline_s"]) + LAST_WORDS_S
    assert 5 <= pause_s(gateway) <= 10
    whole_s = pod(gateway)["terminationGracePeriodSeconds"]
    assert pause_s(gateway) + held_s < whole_s <= 35 + float(chosen["deadline_s"])


def test_a_worker_has_time_to_load_and_to_answer_what_it_holds(cluster: Cluster):
    for worker in workers(cluster):
        startup = container(worker)["startupProbe"]
        load_s = startup["periodSeconds"] * startup["failureThreshold"]
        assert load_s >= 600
        # A gateway is ready when a worker was, so a first rollout of either takes that long.
        assert all(one["spec"].get("progressDeadlineSeconds", load_s + 1) > load_s for one in cluster.of("Deployment"))
        held_s = pause_s(worker) + int(option(worker, "--shutdown-timeout"))
        assert held_s < pod(worker)["terminationGracePeriodSeconds"]


def test_a_rollout_takes_no_gateway_before_its_successor_is_ready(cluster: Cluster):
    spec = the("Deployment", GATEWAY, cluster)["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["minReadySeconds"] > 0
