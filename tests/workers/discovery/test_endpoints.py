"""EndpointSlices -> workers."""

from typing import Any

import pytest

from app.workers.discovery.endpoints import ports_of, read_slice, workers_of

HTTP = {"name": "http", "port": 8000, "protocol": "TCP"}


def _slice(*endpoints: dict[str, Any], ports: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"metadata": {"name": "s"}, "endpoints": list(endpoints), "ports": [HTTP] if ports is None else ports}


def _endpoint(ip: str, uid: str | None = None, **conditions: Any) -> dict[str, Any]:
    target = {"targetRef": {"kind": "Pod", "uid": uid}} if uid else {}
    return {"addresses": [ip], "conditions": conditions} | target


def _workers(*slices: dict[str, Any], port: str = "http") -> dict[str, bool]:
    return dict(workers_of([read_slice(one) for one in slices], port))


@pytest.mark.parametrize(
    ("conditions", "is_ready"),
    [
        ({"ready": True, "serving": True, "terminating": False}, True),
        ({"ready": True}, True),
        ({}, True),
        ({"ready": None, "serving": None, "terminating": None}, True),
        ({"ready": False, "serving": False, "terminating": False}, False),
    ],
)
def test_a_worker_may_have_work_unless_it_is_said_not_to_be_ready(conditions: dict[str, Any], *, is_ready: bool):
    assert _workers(_slice(_endpoint("10.0.0.1", **conditions))) == {"http://10.0.0.1:8000": is_ready}


@pytest.mark.parametrize("ready", [True, False])
def test_a_worker_that_terminates_has_left_while_another_is_ready(*, ready: bool):
    leaving = _endpoint("10.0.0.1", ready=ready, serving=True, terminating=True)
    assert _workers(_slice(leaving, _endpoint("10.0.0.2"))) == {"http://10.0.0.2:8000": True}


@pytest.mark.parametrize("ready", [True, False])
def test_workers_that_serve_while_they_terminate_are_the_last_resort(*, ready: bool):
    leaving = _endpoint("10.0.0.1", ready=ready, serving=True, terminating=True)
    assert _workers(_slice(leaving)) == {"http://10.0.0.1:8000": True}
    starting = _endpoint("10.0.0.2", ready=False)
    assert _workers(_slice(leaving), _slice(starting)) == {"http://10.0.0.1:8000": True, "http://10.0.0.2:8000": False}


def test_workers_that_serve_though_they_are_not_ready_are_the_last_resort():
    odd, ready = _endpoint("10.0.0.1", ready=False, serving=True), _endpoint("10.0.0.2")
    assert _workers(_slice(odd)) == {"http://10.0.0.1:8000": True}
    assert _workers(_slice(odd, ready)) == {"http://10.0.0.1:8000": False, "http://10.0.0.2:8000": True}


def test_a_worker_that_terminates_and_serves_no_more_has_left():
    assert _workers(_slice(_endpoint("10.0.0.1", ready=False, serving=False, terminating=True))) == {}


def test_all_slices_of_a_service_count():
    assert _workers(_slice(_endpoint("10.0.0.1")), _slice(_endpoint("10.0.0.2"))) == {
        "http://10.0.0.1:8000": True,
        "http://10.0.0.2:8000": True,
    }


def test_an_address_in_two_slices_is_one_worker_and_ready_if_either_says_so():
    old, new = _slice(_endpoint("10.0.0.1", "a", ready=False)), _slice(_endpoint("10.0.0.1", "a", ready=True))
    assert _workers(old, new) == _workers(new, old) == {"http://10.0.0.1:8000": True}


def test_a_pod_with_an_ipv4_and_an_ipv6_address_is_one_worker():
    four = _slice(_endpoint("10.0.0.1", "a"), _endpoint("10.0.0.2", "b"))
    six = _slice(_endpoint("fd00::1", "a"), _endpoint("fd00::2", "b"), _endpoint("fd00::3", "c"))
    assert set(_workers(six, four)) == {"http://10.0.0.1:8000", "http://10.0.0.2:8000", "http://[fd00::3]:8000"}


def test_a_port_is_found_by_name_or_number_in_every_slice_by_itself():
    first = _slice(_endpoint("10.0.0.1"), ports=[{"name": "metrics", "port": 9000}, HTTP])
    second = _slice(_endpoint("10.0.0.2"), ports=[{"name": "http", "port": 8001}])
    assert set(_workers(first, second, port="http")) == {"http://10.0.0.1:8000", "http://10.0.0.2:8001"}
    assert set(_workers(first, second, port="8001")) == {"http://10.0.0.2:8001"}
    assert _workers(first, second, port="grpc") == {}
    assert ports_of([read_slice(first), read_slice(second)]) == ["http (8000)", "http (8001)", "metrics (9000)"]


def test_a_service_without_ports_takes_any_number():
    bare = _slice(_endpoint("10.0.0.1"), ports=[])
    assert _workers(bare, port="8000") == {"http://10.0.0.1:8000": True}
    assert _workers(bare, port="http") == {}


def test_a_slice_may_be_empty():
    assert _workers({"metadata": {"name": "s"}, "endpoints": None, "ports": None}) == {}
