"""Checks that end in time, whatever they meet."""

import asyncio
from collections.abc import Awaitable, Iterable

from app.tools.doctor.findings import Findings
from app.tools.doctor.server_client import NoAnswer


async def bounded(
    checks: Iterable[str], work: Awaitable[None], found: Findings, *, until: float, name: str = ""
) -> None:
    """Do the work; say of those `checks` that have no finding then why they have none.

    Args:
        checks: What the work finds out.
        work: Writes into `found`.
        found: Of this work, or of all.
        until: When to stop, on the loop's clock.
        name: Whom it is about, where there are several.
    """
    about = f"{name}: " if name else ""
    try:
        async with asyncio.timeout_at(until):
            await work
    except TimeoutError:
        found.put_off(checks, f"{about}not checked: the time was over")
    except NoAnswer as failed:
        found.put_off(checks, f"{about}not checked: {failed.seen}")
