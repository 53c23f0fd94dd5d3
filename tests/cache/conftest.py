"""What the tests of the cache share."""

import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from app.telemetry import log
from tests.cache.valkey import Valkey, valkey


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """The lines of the log, as they come."""
    log.configure(style="json", level="info")
    with structlog.testing.capture_logs() as lines:
        yield lines
    log.configure(style="json", level="error")


@pytest.fixture
async def server() -> AsyncIterator[Valkey]:
    """A Valkey of the test's own."""
    async with valkey() as running:
        yield running


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody but itself vouches for; its key stands beside it."""
    if not shutil.which("openssl"):
        pytest.skip("makes a certificate with openssl, which isn't here")
    cert, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    made = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 1 -subj /CN=made-up"
    where = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(["openssl", *made.split(), *where], check=True, capture_output=True)
    return cert


@pytest.fixture
def certified(ca: Path) -> ssl.SSLContext:
    """What a server with that certificate needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, ca.with_name("key.pem"))
    return context
