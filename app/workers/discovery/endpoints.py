"""Workers from EndpointSlices. Source: https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from app.settings.addresses import worker_url
from app.workers.discovery.source import Endpoints


class Endpoint(NamedTuple):
    """One address that is ready, may become so, or still serves while it terminates.

    Args:
        target: The pod's uid, which its IPv4 and its IPv6 address share; the address itself where there is no pod.
        ip: The address.
        is_ready: True when it may have new work.
        is_serving: True when it answers, be it that it terminates.
        is_terminating: True when its pod ends.
    """

    target: str
    ip: str
    is_ready: bool
    is_serving: bool
    is_terminating: bool


class Slice(NamedTuple):
    """A part of a Service's endpoints; `ports` are their numbers by name."""

    ports: Mapping[str, int]
    endpoints: Sequence[Endpoint]


def read_slice(written: Mapping[str, Any]) -> Slice:
    """The slice in an API server's answer.

    Raises:
        KeyError, TypeError, AttributeError: it isn't of the form that Kubernetes documents.
    """
    ports = {port.get("name") or "": port["port"] for port in written.get("ports") or () if port.get("port")}
    return Slice(ports, [_read(one) for one in written.get("endpoints") or ()])


def workers_of(slices: Iterable[Slice], port: str) -> Endpoints:
    """The workers in all slices of a Service, one per pod and one per address.

    While an endpoint moves from one slice to another it stands in both. Endpoints that terminate have left, unless none
    is ready: then all that still serve may have new work, as kube-proxy has it.

    Args:
        slices: In any order.
        port: The name or the number of the workers' port.
    """
    # IPv4 first: of a pod with both addresses always the same one is taken.
    found = sorted(_with_port(slices, port), key=lambda one: ":" in one[0].ip)
    is_last_resort = not any(endpoint.is_ready for endpoint, _ in found)
    urls: dict[str, str] = {}
    seen: dict[str, bool] = {}
    for endpoint, number in found:
        is_usable = endpoint.is_ready or (is_last_resort and endpoint.is_serving)
        if is_usable or not endpoint.is_terminating:
            url = urls.setdefault(endpoint.target, worker_url(endpoint.ip, number))
            seen[url] = seen.get(url, False) or is_usable
    return seen


def ports_of(slices: Iterable[Slice]) -> list[str]:
    """The ports in the slices, as messages show them."""
    return sorted({f"{name or 'unnamed'} ({number})" for one in slices for name, number in one.ports.items()})


def _read(endpoint: Mapping[str, Any]) -> Endpoint:
    ip: str = endpoint["addresses"][0]
    target = (endpoint.get("targetRef") or {}).get("uid") or ip
    conditions = endpoint.get("conditions") or {}
    is_terminating = conditions.get("terminating") is True
    # Absent means ready, and serving when ready, says the API.
    is_ready = conditions.get("ready") is not False
    serving = conditions.get("serving")
    is_serving = is_ready if serving is None else serving is True
    # A Service that publishes addresses which aren't ready calls even those ready that terminate.
    return Endpoint(target, ip, is_ready and not is_terminating, is_serving, is_terminating)


def _with_port(slices: Iterable[Slice], port: str) -> Iterator[tuple[Endpoint, int]]:
    for one in slices:
        number = _number(one.ports, port)
        if number is not None:
            yield from ((endpoint, number) for endpoint in one.endpoints)


def _number(ports: Mapping[str, int], port: str) -> int | None:
    """The number of a port; a Service without any says nothing against a number."""
    if port.isdigit() and (not ports or int(port) in ports.values()):
        return int(port)
    return ports.get(port)
