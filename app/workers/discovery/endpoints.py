"""Workers from EndpointSlices. Source: https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from app.settings.addresses import worker_url
from app.workers.discovery.source import Endpoints


class Endpoint(NamedTuple):
    """One address that isn't terminating.

    Args:
        target: The pod's uid, which its IPv4 and its IPv6 address share; the address itself where there is no pod.
        ip: The address.
        is_ready: Whether it may have new work.
    """

    target: str
    ip: str
    is_ready: bool


class Slice(NamedTuple):
    """A part of a Service's endpoints; `ports` are their numbers by name."""

    ports: Mapping[str, int]
    endpoints: Sequence[Endpoint]


def read_slice(written: Mapping[str, Any]) -> Slice:
    """The slice in an API server's answer.

    Endpoints that terminate are left out: they count as gone, and finish the calls they have.

    Raises:
        KeyError, TypeError, AttributeError: it isn't of the form that Kubernetes documents.
    """
    ports = {port.get("name") or "": port["port"] for port in written.get("ports") or () if port.get("port")}
    return Slice(
        ports, [_read(one) for one in written.get("endpoints") or () if not _conditions(one).get("terminating")]
    )


def workers_of(slices: Iterable[Slice], port: str) -> Endpoints:
    """The workers in all slices of a Service, one per pod and one per address.

    While an endpoint moves from one slice to another it stands in both.

    Args:
        slices: In any order.
        port: The name or the number of the workers' port.
    """
    urls: dict[str, str] = {}
    seen: dict[str, bool] = {}
    # IPv4 first: of a pod with both addresses always the same one is taken.
    for endpoint, number in sorted(_with_port(slices, port), key=lambda one: ":" in one[0].ip):
        url = urls.setdefault(endpoint.target, worker_url(endpoint.ip, number))
        seen[url] = seen.get(url, False) or endpoint.is_ready
    return seen


def ports_of(slices: Iterable[Slice]) -> list[str]:
    """The ports in the slices, as messages show them."""
    return sorted({f"{name or 'unnamed'} ({number})" for one in slices for name, number in one.ports.items()})


def _read(endpoint: Mapping[str, Any]) -> Endpoint:
    ip: str = endpoint["addresses"][0]
    target = (endpoint.get("targetRef") or {}).get("uid") or ip
    # Absent means ready, says the API.
    return Endpoint(target, ip, _conditions(endpoint).get("ready") is not False)


def _conditions(endpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    return endpoint.get("conditions") or {}


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
