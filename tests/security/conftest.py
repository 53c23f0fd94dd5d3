"""One open gateway per file, for all tests that change nothing about it."""

from collections.abc import AsyncIterator

import httpx
import pytest_asyncio

from tests.contract.gateways import shared_gateway
from tests.fake_vllm import FakeVllm


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker() -> AsyncIterator[FakeVllm]:
    """The shared gateway's only worker."""
    worker = FakeVllm()
    async with worker.running():
        yield worker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(worker: FakeVllm) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the shared gateway."""
    async with shared_gateway(worker) as client:
        yield client
