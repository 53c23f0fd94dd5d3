"""When a DNS name is looked up, and what its answers mean, on a virtual clock."""

import asyncio
import socket
from collections.abc import Sequence
from random import Random

import pytest

from app.settings.addresses import DnsName
from app.workers.discovery.dns import Dns, addresses_of
from tests.following import followed
from tests.virtual import on_virtual_clock

FAILURE = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


class Name:
    """A name whose addresses the test sets; while it has a `failure` nobody can say which they are."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: Sequence[str] = addresses
        self.failure: OSError | None = None
        self.looked_up_at: list[float] = []

    async def resolve(self, host: str) -> Sequence[str]:
        assert host == "vllm"
        self.looked_up_at.append(asyncio.get_running_loop().time())
        if self.failure:
            raise self.failure
        return self.addresses


def _source(name: Name) -> Dns:
    return Dns(DnsName("vllm", 8000), rng=Random(7), resolve=name.resolve)


@on_virtual_clock
async def test_every_address_is_a_worker_ipv6_as_well():
    source = _source(Name("10.0.0.1", "fd00::1"))
    async with followed(source) as seen:
        assert seen.last == {"http://10.0.0.1:8000": True, "http://[fd00::1]:8000": True}
        assert (source.problem, source.has_answered) == (None, True)


@on_virtual_clock
async def test_a_change_is_seen_within_six_seconds_and_not_all_gateways_ask_at_once():
    name = Name("10.0.0.1")
    async with followed(_source(name)) as seen:
        name.addresses = ["10.0.0.2"]
        await asyncio.sleep(6)
        assert seen.last == {"http://10.0.0.2:8000": True}
        await asyncio.sleep(1000)
    pauses = [later - earlier for earlier, later in zip(name.looked_up_at, name.looked_up_at[1:], strict=False)]
    assert 4 <= min(pauses) < 4.2
    assert 5.8 < max(pauses) <= 6


@on_virtual_clock
async def test_a_lookup_that_fails_keeps_the_workers_and_says_why():
    name = Name("10.0.0.1")
    source = _source(name)
    async with followed(source) as seen:
        name.failure = FAILURE
        await asyncio.sleep(3600)
        assert seen.last == {"http://10.0.0.1:8000": True}
        assert source.problem == "dns://vllm:8000 can't be looked up: Temporary failure in name resolution"
        name.failure = None
        await asyncio.sleep(6)
        assert source.problem is None


@on_virtual_clock
async def test_a_first_lookup_that_fails_is_no_answer():
    name = Name("10.0.0.1")
    name.failure = FAILURE
    source = _source(name)
    async with followed(source) as seen:
        assert (seen.last, source.has_answered) == (None, False)
        name.failure = None
        await asyncio.sleep(6)
        assert source.has_answered


@on_virtual_clock
async def test_a_name_without_addresses_is_an_answer():
    source = _source(Name())
    async with followed(source) as seen:
        assert (seen.last, source.has_answered) == ({}, True)
        assert source.problem == "dns://vllm:8000 has no address"


@on_virtual_clock
async def test_a_name_that_lost_all_addresses_keeps_its_workers_for_half_a_minute():
    name = Name("10.0.0.1")
    source = _source(name)
    async with followed(source) as seen:
        name.addresses = []
        await asyncio.sleep(24)
        assert seen.last == {"http://10.0.0.1:8000": True}
        assert source.problem == "dns://vllm:8000 has no address"
        name.addresses = ["10.0.0.1"]
        await asyncio.sleep(6)
        name.addresses = []
        await asyncio.sleep(24)
        assert seen.last == {"http://10.0.0.1:8000": True}, "the time begins anew"
        await asyncio.sleep(18)
        assert seen.last == {}


@on_virtual_clock
async def test_a_worker_whose_address_is_missing_among_others_leaves_at_once():
    name = Name("10.0.0.1", "10.0.0.2")
    async with followed(_source(name)) as seen:
        name.addresses = ["10.0.0.2"]
        await asyncio.sleep(6)
        assert seen.last == {"http://10.0.0.2:8000": True}


async def test_names_of_the_hosts_file_are_found():
    assert "127.0.0.1" in await addresses_of("localhost")


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
async def test_an_address_is_its_own_name(ip: str):
    assert await addresses_of(ip) == [ip]
