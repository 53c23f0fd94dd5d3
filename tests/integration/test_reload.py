"""SIGHUP: what is written now holds from now on, and no request notices."""

import asyncio
import signal
import ssl
from pathlib import Path

import httpx
import trustme

from tests.fake_vllm import FakeVllm
from tests.integration.commands import Running, running
from tests.running import rerank, until_ready
from tests.waiting import until

DOCUMENTS = ["Paris", "Rome", "Oslo"]


async def hang_up(gateway: Running, event: str = "reloaded") -> dict[str, object]:
    """Send SIGHUP; what the gateway logs about it."""
    before = len(gateway.lines)
    gateway.tell(signal.SIGHUP)
    async with asyncio.timeout(10):
        while True:
            found = [line for line in gateway.events[before:] if line["event"] in {"reloaded", "reload_refused"}]
            if found:
                break
            await asyncio.sleep(0.01)
    assert found[0]["event"] == event
    return found[0]


async def status(client: httpx.AsyncClient, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return (await client.post("/rerank", json={"query": "q", "documents": DOCUMENTS}, headers=headers)).status_code


def certified_by(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_new_keys_hold_at_once_and_no_request_in_flight_is_lost(tmp_path: Path):
    keys = tmp_path / "keys"
    keys.write_text("milvus:old-secret\n")
    chosen = {"API_KEYS_FILE": str(keys), "CACHE": "off"}
    async with FakeVllm(delay_s=0.5).running() as worker, running("serve", worker, **chosen) as gateway:
        await gateway.until_usable()
        async with httpx.AsyncClient(base_url=gateway.url, timeout=20) as client:
            slow = asyncio.create_task(status(client, "old-secret"))
            await until(lambda: worker.in_flight > 0)
            keys.write_text("milvus:new-secret\n")
            await hang_up(gateway)
            assert [await status(client, "old-secret"), await status(client, "new-secret")] == [401, 200]
            assert await slow == 200


async def test_what_is_wrong_is_refused_with_its_reason_and_changes_nothing(tmp_path: Path):
    keys, certificate = tmp_path / "keys", tmp_path / "server.pem"
    keys.write_text("milvus:secret\n")
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    chosen = {"API_KEYS_FILE": str(keys), "TLS_CERT_FILE": str(certificate)}
    async with FakeVllm().running() as worker, running("serve", worker, **chosen) as gateway:
        await gateway.until_usable()
        for path, content, named in (
            (keys, "no secret here", "RERANK_API_KEYS_FILE"),
            (keys, "", "RERANK_API_KEYS_FILE"),
            (certificate, "no certificate", "tls_cert_file"),
        ):
            good = path.read_text()
            path.write_text(content)
            line = await hang_up(gateway, "reload_refused")
            assert named in str(line["reason"])
            path.write_text(good)
        async with httpx.AsyncClient(base_url=gateway.url, verify=certified_by(authority)) as client:
            assert await status(client, "secret") == 200
        assert "secret" not in gateway.text.replace("no secret", "").replace("name:secret", "")


async def test_a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on(tmp_path: Path):
    path = tmp_path / "server.pem"
    old, new = trustme.CA(), trustme.CA()

    old.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    async with FakeVllm().running() as worker, running("serve", worker, TLS_CERT_FILE=str(path)) as gateway:
        await gateway.until_usable()
        async with httpx.AsyncClient(base_url=gateway.url, verify=certified_by(old)) as standing:
            assert (await rerank(standing, DOCUMENTS)).status_code == 200
            new.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
            await hang_up(gateway)
            assert (await rerank(standing, DOCUMENTS)).status_code == 200
            async with httpx.AsyncClient(base_url=gateway.url, verify=certified_by(new)) as client:
                assert (await rerank(client, DOCUMENTS)).status_code == 200


async def test_what_needs_a_restart_is_named(tmp_path: Path):
    config = tmp_path / "config.yaml"
    config.write_text("max_batch: 64\nlog_level: info\n")
    async with FakeVllm().running() as worker, running("serve", worker, CONFIG=str(config)) as gateway:
        await gateway.until_usable()
        config.write_text("max_batch: 32\nlog_level: debug\n")
        assert (await hang_up(gateway))["needs_restart"] == ["max_batch"]
        config.write_text("max_batch: no number\n")
        assert "RERANK_MAX_BATCH" in str((await hang_up(gateway, "reload_refused"))["reason"])


async def test_a_new_level_holds_for_the_lines_of_requests(tmp_path: Path):
    config = tmp_path / "config.yaml"
    config.write_text("log_level: warning\n")
    async with FakeVllm().running() as worker, running("serve", worker, CONFIG=str(config)) as gateway:
        transport = httpx.AsyncHTTPTransport(retries=10)
        async with httpx.AsyncClient(base_url=gateway.url, transport=transport) as client:
            await until_ready(client)
            assert (await rerank(client, DOCUMENTS)).status_code == 200
            config.write_text("log_level: info\n")
            await hang_up(gateway)
            assert "request" not in [line["event"] for line in gateway.events]
            assert (await rerank(client, DOCUMENTS)).status_code == 200
            await until(lambda: "request" in [line["event"] for line in gateway.events])


async def test_keys_that_are_gone_do_not_open_the_gateway(tmp_path: Path):
    config = tmp_path / "config.yaml"
    config.write_text("api_keys: {milvus: hush}\n")
    async with FakeVllm().running() as worker, running("serve", worker, CONFIG=str(config)) as gateway:
        await gateway.until_usable()
        config.write_text("max_batch: 64\n")
        assert "open the gateway" in str((await hang_up(gateway, "reload_refused"))["reason"])
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            assert await status(client, "hush") == 200
            assert await status(client, "other") == 401
