"""TLS on both sides, with certificates of an authority of the test's own."""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trustme

from tests.fake_vllm import FakeVllm
from tests.integration.commands import run, running
from tests.running import rerank
from tests.security.raw import connected

DOCUMENTS = ["Paris", "Rome", "Oslo"]


@dataclass
class Files:
    """An authority, a certificate of it for 127.0.0.1, and one for clients."""

    authority: Path
    server: Path
    client: Path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    authority = trustme.CA()
    made = Files(tmp_path / "ca.pem", tmp_path / "server.pem", tmp_path / "client.pem")
    authority.cert_pem.write_to_path(made.authority)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(made.server)
    authority.issue_cert("client@example.com").private_key_and_cert_chain_pem.write_to_path(made.client)
    return made


def meeting(files: Files, *, shows: Path | None = None) -> ssl.SSLContext:
    """How a client meets a server that the authority certifies."""
    context = ssl.create_default_context(cafile=files.authority)
    if shows:
        context.load_cert_chain(shows)
    return context


def demanding(files: Files) -> ssl.SSLContext:
    """How a worker meets clients that have to show a certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(files.server)
    return context


async def test_clients_are_served_with_tls_and_only_with_tls(files: Files):
    async with FakeVllm().running() as worker, running("serve", worker, TLS_CERT_FILE=str(files.server)) as gateway:
        await gateway.until_usable()
        async with httpx.AsyncClient(base_url=gateway.url, verify=meeting(files)) as client:
            assert (await rerank(client, DOCUMENTS)).status_code == 200
        async with httpx.AsyncClient(base_url=gateway.url.replace("https", "http")) as client:
            with pytest.raises(httpx.TransportError):
                await rerank(client, DOCUMENTS)


async def test_a_client_that_never_shakes_hands_is_closed_as_one_that_never_sends_a_head(files: Files):
    async with FakeVllm().running() as worker, running("serve", worker, TLS_CERT_FILE=str(files.server)) as gateway:
        await gateway.until_usable()
        async with (
            connected(gateway.port) as (silent, _),
            connected(gateway.port) as (begun, writer),
            asyncio.timeout(20),
        ):
            writer.write(b"\x16\x03\x01\x02\x00")
            assert await silent.read() == b""
            assert await begun.read() == b""
        async with httpx.AsyncClient(base_url=gateway.url, verify=meeting(files)) as client:
            assert (await rerank(client, DOCUMENTS)).status_code == 200
    assert "Traceback" not in gateway.text


async def test_clients_may_have_to_show_a_certificate(files: Files):
    chosen = {"TLS_CERT_FILE": str(files.server), "TLS_CLIENT_CA_FILE": str(files.authority)}
    async with FakeVllm().running() as worker, running("serve", worker, **chosen) as gateway:
        await gateway.until_usable()
        async with httpx.AsyncClient(base_url=gateway.url, verify=meeting(files, shows=files.client)) as client:
            assert (await rerank(client, DOCUMENTS)).status_code == 200
        async with httpx.AsyncClient(base_url=gateway.url, verify=meeting(files)) as client:
            with pytest.raises(httpx.TransportError):
                await rerank(client, DOCUMENTS)


async def test_a_worker_is_met_with_its_authority_and_shown_a_certificate(files: Files):
    chosen = {"WORKER_CA_FILE": str(files.authority), "WORKER_CERT_FILE": str(files.client)}
    async with FakeVllm().running(tls=demanding(files)) as worker, running("serve", worker, **chosen) as gateway:
        await gateway.until_usable()
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            assert (await rerank(client, DOCUMENTS)).status_code == 200


async def test_a_worker_that_is_not_trusted_is_misconfigured_and_told_with_the_setting(files: Files):
    async with FakeVllm().running(tls=demanding(files)) as worker, running("serve", worker) as gateway:
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
