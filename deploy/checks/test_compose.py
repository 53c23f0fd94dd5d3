"""The compose files, with every profile."""

import os
import subprocess
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from checks.cluster import ROOT, TOOLS, known_settings

ALL = ["gpu", "cache", "monitoring"]
PROFILES = ([], *([profile] for profile in ALL), ALL)
ALONE, BESIDE_MILVUS = ["docker-compose.yml"], ["docker-compose.yml", "deploy/compose.milvus.yml"]
# What the comments on top tell people to write.
VARIABLES = {
    "RERANK_WORKERS": "http://vllm-1:8000,http://vllm-2:8000",
    "RERANK_REDIS_URL": "redis://valkey:6379",
}


def compose(files: list[str], profiles: list[str], **variables: str) -> dict[str, Any]:
    """The services as compose understands them."""
    flags = [*(f"--file={name}" for name in files), *(f"--profile={name}" for name in profiles)]
    told = subprocess.run(
        [TOOLS / "docker-compose", "--env-file=/dev/null", *flags, "config"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables},
    )
    assert (told.returncode, told.stderr) == (0, "")
    services: dict[str, Any] = yaml.safe_load(told.stdout)["services"]
    return services


@pytest.mark.parametrize("files", [ALONE, BESIDE_MILVUS], ids="+".join)
@pytest.mark.parametrize("profiles", PROFILES, ids=lambda names: "+".join(names) or "none")
def test_compose_understands_every_profile(files: list[str], profiles: list[str]):
    assert "gateway" in compose(files, profiles)


def test_without_a_profile_there_is_the_gateway_alone():
    services = compose(ALONE, [])
    assert list(services) == ["gateway"]
    assert not services["gateway"]["environment"]["RERANK_WORKERS"]


def test_every_setting_exists():
    assert set(compose(ALONE, [])["gateway"]["environment"]) <= known_settings()


def test_the_addresses_in_the_comments_are_services_with_that_port():
    text = (ROOT / "docker-compose.yml").read_text()
    services = compose(ALONE, ALL, **VARIABLES)
    for name, value in VARIABLES.items():
        assert f"{name}={value}" in text
        assert services["gateway"]["environment"][name] == value
        for address in value.split(","):
            assert urlsplit(address).hostname in services


def test_each_worker_has_a_gpu_of_its_own_and_says_how_it_is():
    workers = {name: one for name, one in compose(ALONE, ALL).items() if name.startswith("vllm-")}
    devices = [one["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] for one in workers.values()]
    assert devices == [["0"], ["1"]]
    assert all("/health" in one["healthcheck"]["test"][-1] for one in workers.values())
    assert all(one["command"][0] == "BAAI/bge-reranker-v2-m3" for one in workers.values())
    other = compose(ALONE, ALL, RERANK_MODEL="other/model")
    assert other["vllm-1"]["command"][0] == "other/model"


def test_images_have_a_tag_and_nothing_is_published_to_everybody():
    for service in compose(ALONE, ALL).values():
        assert service["image"].rpartition(":")[2] not in {"", "latest"}
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", []))
        assert service["cap_drop"] == ["ALL"]


def test_files_that_are_mounted_exist():
    for service in compose(ALONE, ALL).values():
        for volume in service.get("volumes", []):
            assert volume["type"] != "bind" or os.path.exists(volume["source"])  # noqa: PTH110 - it is a text


def test_milvus_finds_the_gateway_in_its_own_network():
    assert set(compose(BESIDE_MILVUS, [])["gateway"]["networks"]) == {"default", "milvus"}
