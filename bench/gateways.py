"""The gateway as a process on the measured core, and everything else that reranks, as something to send requests to."""

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson

from bench.connection import post
from bench.fake_worker import MODEL
from bench.peers.peer import Peer
from bench.processes import MEASURED_CORES, Server, serving
from tests.integration.commands import free_port


@dataclass(frozen=True)
class Subject:
    """What is measured: the gateway, a peer, or a worker called directly.

    Attributes:
        name: What the tables call it.
        url: Where it listens.
        path: The route that reranks.
        headers: What its callers must send.
        model: What its callers ask for.
    """

    name: str
    url: str
    path: str = "/rerank"
    headers: Mapping[str, str] = field(default_factory=dict)
    model: str = MODEL

    def request(self, query: str, documents: Sequence[str]) -> bytes:
        """A rerank request, ready to be sent."""
        body = orjson.dumps({"model": self.model, "query": query, "documents": documents})
        return post(body, self.path, self.headers)


@dataclass(frozen=True, kw_only=True)
class Served(Subject):
    """One whose costs can be seen.

    Attributes:
        server: Its processes.
    """

    server: Server


@asynccontextmanager
async def gateway(
    workers: Sequence[str], name: str = "gateway", *, cores: frozenset[int] = MEASURED_CORES, **settings: str
) -> AsyncIterator[Served]:
    """A gateway over these workers, or those its settings name, until the end of the block.

    It logs each request, to nowhere.
    """
    port = free_port()
    environment = {"RERANK_PORT": str(port), "RERANK_DRAIN_S": "0"} | settings
    if workers:
        environment["RERANK_WORKERS"] = ",".join(workers)
    command = (sys.executable, "-m", "tests.chaos.gateway", "serve")
    async with serving(command, port=port, cores=cores, ready="/readyz", environment=environment) as server:
        yield Served(name, server.url, server=server)


@asynccontextmanager
async def peer(what: Peer, workers: Sequence[str]) -> AsyncIterator[Served]:
    """A peer over these workers, until the end of the block.

    Raises:
        NotServing: it didn't come up.
    """
    async with what.serving(workers) as server:
        yield Served(what.name, server.url, what.path, what.headers, server=server)
