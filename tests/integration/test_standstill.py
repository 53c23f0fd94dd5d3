"""A gateway whose process stands still, as in a paused virtual machine, and then goes on: real processes."""

import asyncio
import signal
from contextlib import AsyncExitStack
from itertools import count

import httpx
import pytest

from tests.fake_vllm import FakeVllm
from tests.integration.commands import running

# Beyond every limit that a call, a connection or a probe has here.
STANDSTILL_S = 3.0
LIMITS = {
    "PROBE_INTERVAL_S": "0.2",
    "PROBE_TIMEOUT_S": "1",
    "WORKER_CONNECT_TIMEOUT_S": "1",
    "NO_WORKER_WAIT_S": "1",
    "DEADLINE_S": "2",
}


@pytest.mark.parametrize("workers", [1, 2])
async def test_no_worker_is_blamed_for_a_standstill_of_the_gateway(workers: int):
    async with AsyncExitStack() as stack:
        registry = [await stack.enter_async_context(FakeVllm(fixed_s=0.05).running()) for _ in range(workers)]
        gateway = await stack.enter_async_context(running("serve", *registry, **LIMITS))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=gateway.url, timeout=30))
        await gateway.until_usable()
        clients = [asyncio.create_task(_ask_on(client, number)) for number in range(8)]
        await asyncio.sleep(1)
        gateway.tell(signal.SIGSTOP)
        await asyncio.sleep(STANDSTILL_S)
        gateway.tell(signal.SIGCONT)
        await asyncio.sleep(1)
        for one in clients:
            one.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        answered = await client.post("/v1/rerank", json={"query": "q", "documents": ["last"]})
        assert answered.status_code == 200
    assert [line for line in gateway.events if line["event"] in {"breaker_opened", "task_failed"}] == []
    assert [line for line in gateway.events if line.get("usable") is False] == []


async def _ask_on(client: httpx.AsyncClient, number: int) -> None:
    for turn in count():
        documents = [f"{number} {turn} {place}" for place in range(4)]
        await client.post("/v1/rerank", json={"query": "q", "documents": documents})
