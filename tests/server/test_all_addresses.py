"""Listening on all addresses, with IPv6 and without."""

import errno
import socket
from typing import Any

import pytest

from app.server.all_addresses import bound_to_all
from tests.integration.commands import free_port


class WithoutIpv6(socket.socket):
    """A socket as a kernel makes it that was started with `ipv6.disable=1`."""

    def __init__(self, family: int = -1, *args: Any, **options: Any) -> None:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        super().__init__(family, *args, **options)


def reached_by(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=5):
            return True
    except OSError:
        return False


def test_one_socket_takes_ipv6_and_ipv4():
    port = free_port()
    with bound_to_all(port) as made:
        made.listen()
        assert reached_by("127.0.0.1", port)
        assert reached_by("::1", port)


def test_without_ipv6_it_is_all_of_ipv4(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "socket", WithoutIpv6)
    with bound_to_all(free_port()) as made:
        assert made.getsockname()[0] == "0.0.0.0"  # noqa: S104 - a test of it


def test_a_port_that_is_taken_is_no_lack_of_ipv6():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        bound_to_all(taken.getsockname()[1])
