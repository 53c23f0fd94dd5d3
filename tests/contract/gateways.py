"""A gateway for a whole file of tests."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.fake_vllm import FakeVllm
from tests.running import gateway


@asynccontextmanager
async def shared_gateway(worker: FakeVllm) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway that starts before the fixture which keeps a developer's settings from every test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("RERANK_"):
                patch.delenv(name)
        async with gateway(worker) as client:
            yield client
