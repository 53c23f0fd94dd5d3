"""The workers that gateway and peers are measured over: fake ones on loopback, or real ones at given URLs."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import orjson

from bench.connection import connected, get
from bench.processes import OTHER_CORES, serving
from tests.integration.commands import free_port


@dataclass(frozen=True)
class Service:
    """How long a worker takes for a call: one after another, as on one GPU.

    Attributes:
        fixed_s: For the call.
        per_document_s: For each of its documents.
    """

    fixed_s: float = 0.0
    per_document_s: float = 0.0

    def seconds(self, documents: int) -> float:
        """What one call with so many documents takes."""
        return self.fixed_s + documents * self.per_document_s


INSTANT = Service()
# Measured on vLLM 0.32.0 with a tiny model on CPU.
TINY_ON_CPU = Service(fixed_s=0.011, per_document_s=0.0017)
# vLLM's own work on the host, with a model that computes nothing: it tokenizes 600 characters and hands them on in
# 0.75 ms. No GPU makes a worker faster than this.
FAST_GPU = Service(fixed_s=0.002, per_document_s=0.00075)


@asynccontextmanager
async def fake_workers(count: int, service: Service = INSTANT) -> AsyncIterator[list[str]]:
    """The URLs of so many fake workers, each a process of its own, until the end of the block."""
    async with AsyncExitStack() as stack:
        urls = []
        for _ in range(count):
            port = free_port()
            times = (str(service.fixed_s), str(service.per_document_s))
            command = (sys.executable, "-m", "bench.fake_worker", str(port), *times)
            worker = await stack.enter_async_context(serving(command, port=port, cores=OTHER_CORES, ready="/health"))
            urls.append(worker.url)
        yield urls


async def documents_scored(urls: Sequence[str]) -> int:
    """How many documents fake workers have scored so far, probes left out."""
    scored = 0
    for url in urls:
        async with connected(url) as connection:
            scored += orjson.loads(await connection.ask(get("/counts")))["documents"]
    return scored
