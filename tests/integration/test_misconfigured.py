"""Workers that can't serve us as they are set up: the client learns at once which setting to mend."""

import asyncio

import httpx

from app.main import create_app
from app.settings import Settings
from tests.fake_vllm import FakeVllm
from tests.running import serving


async def test_the_first_request_already_learns_of_a_wrong_worker_key():
    worker = FakeVllm(api_key="right")
    async with worker.running():
        app = create_app(Settings(workers=(worker.url,), worker_api_key="wrong", no_worker_wait_s=20))
        async with serving(app) as url, httpx.AsyncClient(base_url=url) as client, asyncio.timeout(4):
            response = await client.post("/rerank", json={"query": "q", "documents": ["a"]})
    assert response.status_code == 502, response.text
    assert "RERANK_WORKER_API_KEY" in response.json()["error"]["message"]
