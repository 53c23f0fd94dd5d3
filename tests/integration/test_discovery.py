"""Workers that come and go, over real sockets: no client sees anything of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import httpx
import pytest

from app.errors import Unreachable
from app.main import create_app
from app.settings import ModelSettings, Settings
from app.settings.addresses import DnsName
from app.workers.discovery.dns import Dns
from app.workers.discovery.source import Source
from app.workers.vllm import VllmLink
from tests.fake_vllm import FakeVllm, score_of
from tests.running import rerank, serving, until_ready
from tests.waiting import until

DOCUMENTS = [f"document {number}" for number in range(40)]
SCORES = [score_of("q", document) for document in DOCUMENTS]


class Zone:
    """A name's addresses, as the test sets them."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = addresses
        self.failure: OSError | None = None

    async def resolve(self, _: str) -> Sequence[str]:
        if self.failure:
            raise self.failure
        return self.addresses

    def sources(self, port: int) -> list[Source]:
        return [Dns(DnsName("vllm", port), rng=Random(7), resolve=self.resolve, interval_s=0.02)]


@asynccontextmanager
async def gateway(zone: Zone, port: int) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway that finds its workers in the zone."""
    settings = Settings(workers=(f"dns://vllm:{port}",), cache=False, max_batch=8, min_batch=1)
    app = create_app(settings, search=lambda *_: zone.sources(port), rng=Random(7))
    async with serving(app) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        yield client


async def ask(client: httpx.AsyncClient) -> None:
    """One request, and the only answer that is right."""
    answer = await rerank(client, DOCUMENTS)
    assert answer.status_code == 200, answer.text
    rows = answer.json()["results"]
    assert [SCORES[row["index"]] for row in rows] == [row["relevance_score"] for row in rows]
    assert len(rows) == len(DOCUMENTS)


async def test_no_request_fails_while_workers_come_and_go():
    rng = Random(7)
    async with AsyncExitStack() as stack:
        first = FakeVllm(fixed_s=0.005)
        await stack.enter_async_context(first.running(host="127.0.0.2"))
        port = int(first.url.rpartition(":")[2])
        workers = {"127.0.0.2": first}
        for number in range(3, 8):
            worker = workers[f"127.0.0.{number}"] = FakeVllm(fixed_s=0.005)
            await stack.enter_async_context(worker.running(port, f"127.0.0.{number}"))
        zone = Zone(list(workers))
        client = await stack.enter_async_context(gateway(zone, port))
        await until_ready(client)
        asking = [asyncio.create_task(_keep_asking(client)) for _ in range(4)]
        for _ in range(40):
            zone.addresses = rng.sample(list(workers), rng.randint(2, 6))
            await asyncio.sleep(0.05)
        zone.addresses = ["127.0.0.3"]
        metrics = await _metrics_of(client, only=f"127.0.0.3:{port}")
        for task in asking:
            task.cancel()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert all(isinstance(answer, asyncio.CancelledError) for answer in answers), answers
    assert all(worker.scored for worker in workers.values())
    assert metrics, "the worker that stayed is still measured"


async def _keep_asking(client: httpx.AsyncClient) -> None:
    while True:
        await ask(client)


async def _metrics_of(client: httpx.AsyncClient, *, only: str) -> list[str]:
    """The series of workers, once there are none of any worker but one."""
    lines: list[str] = []
    async with asyncio.timeout(10):
        while not lines or any(f'worker="{only}"' not in line for line in lines):
            text = (await client.get("/metrics")).text
            lines = [line for line in text.splitlines() if 'worker="' in line]
    return lines


async def test_a_worker_that_is_killed_while_its_name_still_stands_costs_no_request():
    async with AsyncExitStack() as stack:
        staying = FakeVllm(fixed_s=0.005)
        await stack.enter_async_context(staying.running(host="127.0.0.2"))
        port = int(staying.url.rpartition(":")[2])
        zone = Zone(["127.0.0.2", "127.0.0.3"])
        async with FakeVllm(fixed_s=0.005).running(port, "127.0.0.3") as killed:
            client = await stack.enter_async_context(gateway(zone, port))
            await until_ready(client)
            asking = asyncio.create_task(_keep_asking(client))
            await until(lambda: killed.scored)
        await until(lambda: len(staying.scored) > 50)
        zone.addresses = ["127.0.0.2"]
        asked = len(staying.scored)
        await until(lambda: len(staying.scored) > asked + 50)
        asking.cancel()
        (answer,) = await asyncio.gather(asking, return_exceptions=True)
        assert isinstance(answer, asyncio.CancelledError), answer


async def test_who_asks_a_worker_that_has_left_is_told_of_a_worker_error():
    async with FakeVllm().running() as worker:
        link = VllmLink(worker.url)
        await link.identify()
        await link.close()
        with pytest.raises(Unreachable, match="has left"):
            await link.count_tokens("m", "text", request_id="id-1")


@pytest.mark.parametrize("scales_to_zero", [True, False])
async def test_a_replica_is_ready_without_workers_when_there_may_be_none(*, scales_to_zero: bool):
    zone = Zone([])
    zone.failure = OSError(0, "Temporary failure in name resolution")
    models = {"m": ModelSettings(scales_to_zero=scales_to_zero)}
    app = create_app(Settings(workers=("dns://vllm:8000",), models=models), search=lambda *_: zone.sources(8000))
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/readyz")).status_code == 503
        zone.failure = None
        if scales_to_zero:
            await until_ready(client)
        else:
            await asyncio.sleep(0.5)
            assert (await client.get("/readyz")).status_code == 503


@pytest.mark.parametrize("fallback", ["none", "lexical"])
async def test_a_replica_is_ready_when_it_was_told_where_workers_are(fallback: str):
    zone = Zone([])
    zone.failure = OSError(0, "Temporary failure in name resolution")
    async with FakeVllm().running(host="127.0.0.2") as worker:
        port = int(worker.url.rpartition(":")[2])
        settings = Settings(workers=(f"dns://vllm:{port}",), fallback=fallback, no_worker_wait_s=0)
        app = create_app(settings, search=lambda *_: zone.sources(port), rng=Random(7))
        async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
            response = await client.get("/readyz")
            assert response.status_code == 503
            reason = f"dns://vllm:{port} can't be looked up: Temporary failure in name resolution"
            assert reason in response.json()["error"]["message"]
            if fallback == "none":
                answer = await rerank(client, DOCUMENTS)
                assert (answer.status_code, reason in answer.text) == (503, True)
            zone.failure = None
            zone.addresses = [] if fallback == "lexical" else ["127.0.0.2"]
            await until_ready(client)
