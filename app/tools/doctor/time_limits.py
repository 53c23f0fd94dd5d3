"""Time limits for checks."""

import asyncio
from collections.abc import Awaitable, Iterable

from app.tools.doctor.findings import Findings
from app.tools.doctor.server_client import NoAnswer


async def bounded(
    checks: Iterable[str], work: Awaitable[None], found: Findings, *, until: float, name: str = ""
) -> None:
    """Run checks until a time limit, and add yellow findings for those that have none by then.

    Args:
        checks: Ids of the checks.
        work: Runs them, and adds their findings to `found`.
        found: Findings of these checks, or of all.
        until: The limit, on the loop's clock.
        name: The worker they are about, where there are several.
    """
    about = f"{name}: " if name else ""
    try:
        async with asyncio.timeout_at(until):
            await work
    except TimeoutError:
        found.put_off(checks, f"{about}not checked: the time was over")
    except NoAnswer as failed:
        found.put_off(checks, f"{about}not checked: {failed.seen}")
