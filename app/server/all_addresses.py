"""The socket that listens on all addresses of the machine, of IPv6 and IPv4."""

import errno
import socket

import structlog

ALL = "::"
# The kernel has no IPv6, or no address of it.
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


def bound_to_all(port: int) -> socket.socket:
    """A socket bound to `::` for IPv6 and IPv4, or to 0.0.0.0 where the machine has no IPv6.

    The event loop by itself would bind `::` for IPv6 alone.

    Raises:
        OSError: the port is taken, or may not be bound.
    """
    try:
        return _bound(socket.AF_INET6, ALL, port)
    except OSError as exc:
        if exc.errno not in _NO_IPV6:
            raise
    structlog.get_logger().info("no_ipv6", listens_on="0.0.0.0")  # noqa: S104 - what the image is told to do
    return _bound(socket.AF_INET, "0.0.0.0", port)  # noqa: S104


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made
