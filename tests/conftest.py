"""What holds for every test, and what tests of several folders share."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from anyio.from_thread import start_blocking_portal

from app.telemetry import log
from tests.certificates import Certificates, made_in
from tests.fake_vllm import FakeVllm
from tests.running import shared_gateway


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `RERANK_` variable of the developer's shell would change what is tested."""
    for name in list(os.environ):
        if name.startswith("RERANK_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="session")
def _quiet_logs() -> None:
    log.configure(style="json", level="error")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker() -> AsyncIterator[FakeVllm]:
    """The only worker of the file's shared gateway."""
    async with FakeVllm().running() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(worker: FakeVllm) -> AsyncIterator[httpx.AsyncClient]:
    """A client of one gateway for all tests of a file that change nothing about it; starting it costs more."""
    async with shared_gateway(worker) as client:
        yield client


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL of a gateway in a thread of its own, for tests that call and wait."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(shared_gateway(FakeVllm())) as client:
        yield str(client.base_url)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """An authority, a certificate of it for 127.0.0.1, and one for clients."""
    return made_in(tmp_path)
