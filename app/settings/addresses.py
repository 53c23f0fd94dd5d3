"""Addresses in `RERANK_WORKERS`: the URL of a worker, or a place where workers are discovered."""

import re
from typing import NamedTuple
from urllib.parse import urlsplit

LEXICAL = "lexical://"
_LAST_PORT = 65535
_LABEL = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_DNS = re.compile(rf"dns://(?P<host>{_LABEL}([.]{_LABEL})*[.]?):(?P<port>[0-9]+)/?", re.IGNORECASE | re.ASCII)
# Kubernetes' own rules for names, except for their lengths, which the API server checks.
_NAME = "[a-z0-9]([a-z0-9.-]*[a-z0-9])?"
_SERVICE = re.compile(
    rf"kubernetes://(?P<namespace>{_NAME})/(?P<service>{_NAME}):(?P<port>{_NAME})/?", re.IGNORECASE | re.ASCII
)


class DnsName(NamedTuple):
    """A name with an address per worker, and the port they all listen on."""

    host: str
    port: int


class Service(NamedTuple):
    """A Service of Kubernetes; `port` is the name or the number of a port of its pods."""

    namespace: str
    name: str
    port: str


def scheme_of(address: str) -> str:
    """The scheme of an address, in small letters."""
    return address.partition(":")[0].lower()


def problem_with(address: str) -> str | None:
    """The problem with an address, worded to follow it in a sentence; None when it can be used."""
    try:
        match scheme_of(address):
            case "dns":
                dns_name(address)
            case "kubernetes":
                service(address)
            case _:
                return None if _is_worker_url(address) else "is no URL like http://gpu-1:8000"
    except ValueError as exc:
        return str(exc)
    return None


def dns_name(address: str) -> DnsName:
    """The name and port of a `dns://` address.

    Raises:
        ValueError: it has another form.
    """
    found = _DNS.fullmatch(address)
    if not found or not 0 < int(found["port"]) <= _LAST_PORT:
        raise ValueError("is not of the form dns://host:port")
    return DnsName(found["host"].lower(), int(found["port"]))


def service(address: str) -> Service:
    """The Service and port of a `kubernetes://` address.

    Raises:
        ValueError: it has another form.
    """
    found = _SERVICE.fullmatch(address)
    if not found:
        raise ValueError("is not of the form kubernetes://namespace/service:port, with the name or number of a port")
    return Service(found["namespace"].lower(), found["service"].lower(), found["port"].lower())


def worker_url(ip: str, port: int) -> str:
    """The URL of the worker at an IP address and port; brackets go around IPv6."""
    return f"http://[{ip}]:{port}" if ":" in ip else f"http://{ip}:{port}"


def without_password(address: str) -> str:
    """The address with everything before an @ replaced by stars, even when it is no URL."""
    before, at, host = address.rpartition("@")
    return f"{before[: before.find('://') + 3] if '://' in before else ''}**********@{host}" if at else address


def _is_worker_url(address: str) -> bool:
    if address.startswith(LEXICAL):
        return True
    try:
        parts = urlsplit(address)
        # Half a character, which bytes of an argument become that aren't UTF-8, can't be encoded.
        address.encode()
        # Reading the port raises when it is no port.
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
