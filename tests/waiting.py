"""Waiting for what no event tells of."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(holds: Callable[[], object], *, within_s: float = 20.0) -> None:
    """Wait until something holds."""

    async def asked() -> object:
        return holds()

    await until_it(asked, within_s=within_s)


async def until_it(holds: Callable[[], Awaitable[object]], *, within_s: float = 20.0) -> None:
    """Wait until something holds that has to be asked for."""
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.005)
