"""The picture in docs/ui.md, taken anew after five minutes of traffic: `python -m tests.page.picture`."""

import asyncio
from contextlib import AsyncExitStack, suppress
from math import sin
from pathlib import Path
from random import Random

import httpx
from playwright.async_api import Browser, async_playwright, expect

from app.telemetry import log
from tests.fake_vllm import FakeVllm
from tests.page.browsing import chromium, opened
from tests.running import gateway, rerank

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "ui.png"
PORTS = (18101, 18102, 18103)
WIDTH, TRAFFIC_S, STALL_AT_S, STALL_S, DRAIN_AT_S = 1180, 302.0, 165.0, 6.0, 250.0


async def take() -> None:
    """Write the picture."""
    async with AsyncExitStack() as stack:
        workers = [
            FakeVllm(model="bge-reranker-v2-m3", max_model_len=8192, fixed_s=0.02, per_document_s=0.0005) for _ in PORTS
        ]
        for worker, port in zip(workers, PORTS, strict=True):
            await stack.enter_async_context(worker.running(port=port))
        client = await stack.enter_async_context(gateway(*workers, cache=True))
        playwright = await stack.enter_async_context(async_playwright())
        browser = await stack.enter_async_context(chromium(playwright))
        traffic = asyncio.create_task(_send(client))
        await asyncio.sleep(STALL_AT_S)
        for worker in workers:
            worker.slowness = 20.0
        await asyncio.sleep(STALL_S)
        for worker in workers:
            worker.slowness = 1.0
        await asyncio.sleep(DRAIN_AT_S - STALL_AT_S - STALL_S)
        drained = await client.post("/admin/workers/drain", json={"worker": f"127.0.0.1:{PORTS[-1]}"})
        drained.raise_for_status()
        await asyncio.sleep(TRAFFIC_S - DRAIN_AT_S)
        await _photograph(browser, client)
        traffic.cancel()
        with suppress(asyncio.CancelledError):
            await traffic


async def _send(client: httpx.AsyncClient) -> None:
    """Requests whose rate comes and goes, and whose documents are ever more often those of before."""
    rng, number = Random(7), 0
    async with asyncio.TaskGroup() as requests:
        while True:
            number += 1
            often = [f"document {place}" for place in rng.sample(range(9000), 50)]
            documents = [*often, *(f"new {number} {place}" for place in range(18)), *often[:8]]
            requests.create_task(rerank(client, documents))
            await asyncio.sleep(rng.expovariate(4.5 + 3.5 * sin(number / 60)))


async def _photograph(browser: Browser, client: httpx.AsyncClient) -> None:
    async with opened(browser, client, viewport={"width": WIDTH, "height": 1130}) as page:
        await expect(page.locator("#summary")).to_contain_text("2 of 3 workers are usable")
        await expect(page.locator("#cache-figures")).to_contain_text("Pairs remembered")
        end = await page.locator("#cache").bounding_box()
        assert end
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": end["y"] + end["height"] + 40}
        await page.screenshot(path=PICTURE, full_page=True, clip=clip)  # type: ignore[arg-type]  # a TypedDict of its own


if __name__ == "__main__":
    log.configure(style="json", level="error")
    asyncio.run(take())
