"""Hosts from which workers may fetch images that requests name by address.

A request can only name a host that is listed, letter by letter, so what must never be reached is refused here.
"""

import re
from ipaddress import AddressValueError, IPv4Address

_HOST = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?(:[1-9][0-9]{0,4})?")
# What makes every reader of URLs take a host for an IPv4 address: decimal, octal and hexadecimal ones among them.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_USUAL_PORTS = {"80", "443"}


def problem_with_host(host: str) -> str | None:
    """The reason why a host can't be listed, to go on after its name; None when it can."""
    if not _HOST.fullmatch(host):
        return "is no host: write it in small letters, such as images.example, with a port only if it is unusual"
    name, _, port = host.partition(":")
    if port in _USUAL_PORTS:
        return "has a port that goes without saying: leave it out"
    if name == "localhost" or name.endswith(".localhost"):
        return "is each worker's own machine, which no request may reach: leave it out"
    if _NUMBER.fullmatch(name.rpartition(".")[2]) and not _is_public(name):
        return "is no public address, and workers may reach only such for a request: leave it out"
    return None


def _is_public(name: str) -> bool:
    try:
        address = IPv4Address(name)
    except AddressValueError:
        return False
    return address.is_global and not address.is_multicast
