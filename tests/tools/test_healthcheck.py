"""The image's health check, beside gateways that listen in every way."""

import asyncio
import signal
import socket
import sys
from pathlib import Path

import pytest
import yaml

from tests.certificates import Certificates
from tests.integration.commands import free_port, running


async def healthy(**variables: str) -> bool:
    """What Docker would make of a run of the check."""
    given = {f"RERANK_{name}": value for name, value in variables.items()}
    check = await asyncio.create_subprocess_exec(sys.executable, "-m", "app.tools.healthcheck", env=given)
    assert await check.wait() in {0, 1}
    return check.returncode == 0


@pytest.mark.parametrize("host", ["::", "::1", "127.0.0.1", ""])
async def test_it_asks_where_the_gateway_listens(host: str):
    async with running("serve", HOST=host) as gateway:
        await gateway.until('"serving"')
        assert await healthy(HOST=host, PORT=str(gateway.port))
        if host == "::":
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=5):
                pass


@pytest.mark.parametrize("setup", ["certificate", "of both sides"])
async def test_it_speaks_tls_where_the_gateway_does(certificates: Certificates, setup: str):
    chosen = {"TLS_CERT_FILE": str(certificates.server)}
    if setup == "of both sides":
        chosen["TLS_CLIENT_CA_FILE"] = str(certificates.authority)
    async with running("serve", **chosen) as gateway:
        await gateway.until('"serving"')
        assert await healthy(PORT=str(gateway.port), **chosen)
        gateway.tell(signal.SIGSTOP)
        assert not await healthy(PORT=str(gateway.port), **chosen)


async def test_it_reads_the_settings_file_and_variables_win_over_it(tmp_path: Path):
    async with running("serve") as gateway:
        await gateway.until('"serving"')
        file = tmp_path / "gateway.yaml"
        file.write_text(yaml.safe_dump({"port": gateway.port}))
        assert await healthy(CONFIG=str(file))
        assert not await healthy(CONFIG=str(file), PORT=str(free_port()))
