"""Names as a pod finds them: search domains, ndots, the hosts file, and workers that come and go behind one."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.pod import NAMES, RESOLV_CONF

# Name servers of its own, and their timeouts: 45 s.
pytestmark = pytest.mark.long

IN_NAMESPACES = ["unshare", "--map-root-user", "--mount", "--net"]


@pytest.fixture
def pod(tmp_path: Path) -> Callable[[str], Any]:
    """What a part of `pod.py` finds out in namespaces of its own."""
    try:
        subprocess.run([*IN_NAMESPACES, "mount", "--bind", "/etc/hosts", "/etc/hosts"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets nobody make namespaces, which a resolv.conf of one's own needs")
    (tmp_path / "resolv.conf").write_text(RESOLV_CONF)
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n10.0.0.9 hosted\n")

    def find_out(part: str) -> Any:
        command = [*IN_NAMESPACES, sys.executable, "-m", "tests.integration.pod", str(tmp_path), part]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=55).stdout)

    return find_out


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_names_are_found_as_in_a_pod(pod: Callable[[str], Any], loop: str):
    vllm = ["10.0.0.1", "10.0.0.2", "fd00::1"]
    right = [vllm, vllm, vllm, ["10.0.0.3"], ["192.0.2.1"], ["10.0.0.9"], [], [], []]
    found = pod(loop)
    assert len(found["many"]) == 100, "an answer too long for UDP comes by TCP"
    assert {name: found[name] for name in NAMES if name != "many"} == {
        name: one for name, one in zip(NAMES, right, strict=True) if name != "many"
    }
    assert found["broken"] is found["silent"] is None


def test_names_whose_servers_are_silent_hold_up_no_other_name(pod: Callable[[str], Any]):
    found = pod("beside silence")
    assert len(found["asked"]) == 8, "each of them was looked up"
    assert found["statuses"] == [200]
    # Each lookup of a silent name takes 4 s here.
    assert found["ready_s"] < 2
    assert found["slowest_s"] < 2


def test_a_named_worker_stays_in_use_when_its_name_server_falls_silent(pod: Callable[[str], Any]):
    found = pod("in silence")
    assert found["statuses"] == [200]
    assert found["slowest_s"] < 3


def test_no_request_fails_while_workers_come_and_go_behind_a_name(pod: Callable[[str], Any]):
    assert pod("served") == {"statuses": [200], "before it joined": 0, "after it left": 0}
