"""Hosts whose images requests may name: never such as only the workers' own network has."""

import pytest
from pydantic import ValidationError

from app.settings import Settings
from app.settings.image_hosts import problem_with_host


@pytest.mark.parametrize(
    "host", ["images.example", "a-b.images.example", "images.example:8443", "minio", "xn--bcher-kva.example", "8.8.8.8"]
)
def test_a_name_or_a_public_address_may_be_listed(host: str):
    assert problem_with_host(host) is None
    assert Settings(image_hosts=(host,)).image_hosts == (host,)


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("", "no host"),
        ("https://images.example", "no host"),
        ("images.example/", "no host"),
        ("user@images.example", "no host"),
        ("images.example:", "no host"),
        ("images.example:0", "no host"),
        ("Images.example", "small letters"),
        ("bücher.example", "no host"),
        ("*.example", "no host"),
        ("images..example", "no host"),
        ("images.example.", "no host"),
        ("-images.example", "no host"),
        ("[::1]", "no host"),
        ("::ffff:10.0.0.1", "no host"),
        ("images.example:443", "leave it out"),
        ("localhost", "own machine"),
        ("a.localhost:8080", "own machine"),
        ("127.0.0.1", "no public address"),
        ("10.0.0.1:8080", "no public address"),
        ("172.16.0.1", "no public address"),
        ("192.168.1.1", "no public address"),
        ("169.254.169.254", "no public address"),
        ("100.64.0.1", "no public address"),
        ("255.255.255.255", "no public address"),
        ("224.0.0.1", "no public address"),
        ("2130706433", "no public address"),
        ("0x7f000001", "no public address"),
        ("0x7f.1", "no public address"),
        ("127.1", "no public address"),
        ("0177.0.0.1", "no public address"),
        ("008.8.8.8", "no public address"),
        ("0x8.8.8.8", "no public address"),
        ("8.8.8.0x8", "no public address"),
        ("images.1", "no public address"),
        ("0x", "no public address"),
    ],
)
def test_what_no_request_may_reach_is_refused_at_the_start(host: str, told: str):
    assert told in (problem_with_host(host) or "")
    with pytest.raises(ValidationError, match="image_hosts: "):
        Settings(image_hosts=(host,))
