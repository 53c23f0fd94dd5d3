"""Workers behind a DNS name with one address each, as a headless Service has."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from random import Random

import structlog

from app.net.dialer import is_no_such_name, look_up
from app.settings.addresses import DnsName, worker_url
from app.workers.discovery.source import Endpoints

_INTERVAL_S = 5.0
_JITTER = 0.2
# A name without addresses may be a mishap of the DNS server, or of all workers' readiness at once.
_GRACE_S = 30.0

Resolve = Callable[[str], Awaitable[Sequence[str]]]


async def addresses_of(host: str) -> list[str]:
    """The IPv4 and IPv6 addresses of a name, found as every other program here finds them; empty when it has none.

    Raises:
        OSError: no name server could say.
    """
    try:
        found = await look_up(host)
    except OSError as exc:
        if is_no_such_name(exc):
            return []
        raise
    return [str(place[0]) for *_, place in found]


class Dns:
    """The workers at all addresses of a name, which is looked up again and again.

    A lookup that fails changes nothing. A name that has lost all its addresses keeps its workers for 30 s.

    Args:
        name: The name, and the port each worker listens on.
        rng: Spreads the lookups of several gateways.
        resolve: Finds the addresses; raises OSError when it can't.
        interval_s: Seconds between lookups.
    """

    def __init__(
        self, name: DnsName, *, rng: Random, resolve: Resolve = addresses_of, interval_s: float = _INTERVAL_S
    ) -> None:
        self.name = f"dns://{name.host}:{name.port}"
        self.problem: str | None = f"{self.name} has not been looked up yet"
        self.has_answered = False
        self._host, self._port = name
        self._resolve = resolve
        self._rng = rng
        self._interval_s = interval_s
        self._had_some_at = float("-inf")
        self._log = structlog.get_logger()

    async def watch(self) -> AsyncIterator[Endpoints]:
        while True:
            addresses = await self._look()
            now = asyncio.get_running_loop().time()
            if addresses:
                self._had_some_at = now
            if addresses is not None and (addresses or now - self._had_some_at >= _GRACE_S):
                yield {worker_url(address, self._port): True for address in addresses}
            await asyncio.sleep(self._interval_s * self._rng.uniform(1 - _JITTER, 1 + _JITTER))

    async def _look(self) -> Sequence[str] | None:
        """The name's addresses; None when no name server could say."""
        before = self.problem
        try:
            addresses = await self._resolve(self._host)
        except OSError as exc:
            self.problem = f"{self.name} can't be looked up: {exc.strerror}"
            addresses = None
        else:
            self.has_answered = True
            self.problem = None if addresses else f"{self.name} has no address"
        if self.problem and self.problem != before:
            self._log.warning("discovery_failed", source=self.name, reason=self.problem)
        return addresses
