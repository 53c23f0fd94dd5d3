"""TLS on both sides, with certificates of an authority of the test's own."""

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest

from tests.certificates import Certificates
from tests.fake_vllm import FakeVllm
from tests.integration.commands import run, running
from tests.running import rerank
from tests.security.raw import connected

DOCUMENTS = ["Paris", "Rome", "Oslo"]


def meeting(certificates: Certificates, *, shows: Path | None = None) -> ssl.SSLContext:
    """How a client meets a server that the authority certifies."""
    context = ssl.create_default_context(cafile=certificates.authority)
    if shows:
        context.load_cert_chain(shows)
    return context


async def test_clients_are_served_with_tls_and_only_with_tls(certificates: Certificates):
    async with (
        FakeVllm().running() as worker,
        running("serve", worker, TLS_CERT_FILE=str(certificates.server)) as gateway,
    ):
        await gateway.until_usable()
        async with httpx.AsyncClient(base_url=gateway.url, verify=meeting(certificates)) as client:
            assert (await rerank(client, DOCUMENTS)).status_code == 200
        async with httpx.AsyncClient(base_url=gateway.url.replace("https", "http")) as client:
            with pytest.raises(httpx.TransportError):
                await rerank(client, DOCUMENTS)


@pytest.mark.long
async def test_a_client_that_never_shakes_hands_is_closed_as_one_that_never_sends_a_head(certificates: Certificates):
    async with (
        FakeVllm().running() as worker,
        running("serve", worker, TLS_CERT_FILE=str(certificates.server)) as gateway,
    ):
        await gateway.until_usable()
        async with (
            connected(gateway.port) as (silent, _),
            connected(gateway.port) as (begun, writer),
            asyncio.timeout(20),
        ):
            writer.write(b"\x16\x03\x01\x02\x00")
            assert await silent.read() == b""
            assert await begun.read() == b""
        async with httpx.AsyncClient(base_url=gateway.url, verify=meeting(certificates)) as client:
            assert (await rerank(client, DOCUMENTS)).status_code == 200
    assert "Traceback" not in gateway.text


async def test_clients_may_have_to_show_a_certificate(certificates: Certificates):
    chosen = {"TLS_CERT_FILE": str(certificates.server), "TLS_CLIENT_CA_FILE": str(certificates.authority)}
    async with FakeVllm().running() as worker, running("serve", worker, **chosen) as gateway:
        await gateway.until_usable()
        async with httpx.AsyncClient(
            base_url=gateway.url, verify=meeting(certificates, shows=certificates.client)
        ) as client:
            assert (await rerank(client, DOCUMENTS)).status_code == 200
        async with httpx.AsyncClient(base_url=gateway.url, verify=meeting(certificates)) as client:
            with pytest.raises(httpx.TransportError):
                await rerank(client, DOCUMENTS)


async def test_a_worker_is_met_with_its_authority_and_shown_a_certificate(certificates: Certificates):
    chosen = {"WORKER_CA_FILE": str(certificates.authority), "WORKER_CERT_FILE": str(certificates.client)}
    async with (
        FakeVllm().running(tls=certificates.demanding()) as worker,
        running("serve", worker, **chosen) as gateway,
    ):
        await gateway.until_usable()
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            assert (await rerank(client, DOCUMENTS)).status_code == 200


async def test_a_worker_that_is_not_trusted_is_misconfigured_and_told_with_the_setting(certificates: Certificates):
    async with FakeVllm().running(tls=certificates.demanding()) as worker, running("serve", worker) as gateway:
        await gateway.until('"serving"')
        async with httpx.AsyncClient(base_url=gateway.url, timeout=20) as client:
            answer = await rerank(client, DOCUMENTS)
    assert answer.status_code == 502
    assert "RERANK_WORKER_CA_FILE" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("variable", "content"),
    [("TLS_CERT_FILE", "no certificate"), ("TLS_CERT_FILE", None), ("WORKER_CA_FILE", "no certificate")],
)
async def test_a_file_that_is_no_certificate_is_refused_at_the_start(tmp_path: Path, variable: str, content: str):
    path = tmp_path / "file.pem"
    if content:
        path.write_text(content)
    finished = await run("check-config", **{variable: str(path)})
    assert finished.code == 2
    assert variable.lower() in finished.err
    assert "name" in finished.err
