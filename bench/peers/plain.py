"""The proxy one would write in an afternoon: FastAPI, httpx, one worker after the other, once more on failure."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

WORKERS = os.environ["WORKERS"].split(",")
ATTEMPTS = 2


class RerankRequest(BaseModel):
    """What clients send."""

    query: str
    documents: list[str]
    model: str | None = None
    top_n: int | None = None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep connections to the workers."""
    async with httpx.AsyncClient(timeout=30) as client:
        app.state.client = client
        app.state.workers = cycle(WORKERS)
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/rerank")
async def rerank(request: RerankRequest) -> dict[str, Any]:
    """Have the next worker score everything."""
    for _ in range(ATTEMPTS):
        worker = next(app.state.workers)
        try:
            response = await app.state.client.post(f"{worker}/v1/rerank", json=request.model_dump(exclude_none=True))
            response.raise_for_status()
        except httpx.HTTPError:
            continue
        answer: dict[str, Any] = response.json()
        return answer
    raise HTTPException(503, "no worker answered")


@app.get("/health")
async def health() -> dict[str, str]:
    """Say that it serves."""
    return {"status": "ok"}
