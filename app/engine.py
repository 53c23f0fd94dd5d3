"""Everything that scores, put together."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from secrets import token_bytes
from typing import TYPE_CHECKING

from app.admission import Admission
from app.cache import agreed
from app.cache.memory import MemoryTier
from app.cache.pairs import PairCache
from app.dispatch import Dispatch
from app.experience import Experience
from app.fallback import Fallback
from app.fleet.discovery import sources
from app.fleet.discovery.source import Source
from app.fleet.fleet import Fleet
from app.fleet.keeper import Keeper
from app.fleet.link import WorkerLink
from app.fleet.probe import Probe
from app.fleet.reach import LinkFactory, reach
from app.fleet.weighing import Weighing
from app.fleet.worker import Worker
from app.flights import Flights
from app.gateway import Gateway
from app.loop import StallDetector
from app.metrics import Metrics
from app.policy.digest import SECRET_BYTES
from app.policy.limit import Limit
from app.schedule import Schedule
from app.settings import Settings

if TYPE_CHECKING:
    from app.cache.redis import RedisTier

Search = Callable[[Sequence[str], Random], Sequence[Source]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Everything that scores, without its HTTP side."""

    fleet: Fleet
    probe: Probe
    keeper: Keeper
    schedule: Schedule
    admission: Admission
    cache: PairCache
    shared: "RedisTier | None"
    flights: Flights
    gateway: Gateway
    metrics: Metrics
    stalls: StallDetector

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Find and watch workers until the end of the block, then let go of their connections."""
        with self.stalls.running():
            async with self.shared.running() if self.shared else nullcontext(), self.keeper.running():
                yield


def assemble(
    settings: Settings, *, link_factory: LinkFactory = reach, search: Search = sources, rng: Random | None = None
) -> Engine:
    """Put the engine together.

    Args:
        settings: Checked and frozen.
        link_factory: Makes the link to each worker; where tests put workers of their own.
        search: Makes the sources of workers; where tests put sources of their own.
        rng: Chance for balancing and jitter; tests seed it.
    """
    rng = rng or Random()  # noqa: S311 - balancing and jitter, no secrets
    metrics, stalls = Metrics(), StallDetector()
    fleet, probe, keeper = _staff(settings, metrics, stalls, link_factory=link_factory, search=search, rng=rng)
    schedule = Schedule(fleet, no_worker_wait_s=settings.no_worker_wait_s, rng=rng)
    admission = Admission(schedule, settings)
    cache, shared = _cache(settings, metrics)
    dispatch = Dispatch(
        schedule=schedule,
        fleet=fleet,
        experience=Experience(fleet=fleet, schedule=schedule, probe=probe, stalls=stalls),
        cache=cache,
        metrics=metrics,
        settings=settings,
        rng=rng,
    )
    flights = Flights(admission=admission, dispatch=dispatch, schedule=schedule, settings=settings, metrics=metrics)
    gateway = Gateway(
        fleet=fleet,
        cache=cache,
        flights=flights,
        dispatch=dispatch,
        fallback=_fallback(fleet, admission, settings, metrics),
        settings=settings,
        metrics=metrics,
    )
    metrics.watch(
        schedule=schedule,
        admission=admission,
        dispatch=dispatch,
        flights=flights,
        memory=cache.memory,
        shared=shared,
    )
    return Engine(
        fleet=fleet,
        probe=probe,
        keeper=keeper,
        schedule=schedule,
        admission=admission,
        cache=cache,
        shared=shared,
        flights=flights,
        gateway=gateway,
        metrics=metrics,
        stalls=stalls,
    )


def _staff(
    settings: Settings,
    metrics: Metrics,
    stalls: StallDetector,
    *,
    link_factory: LinkFactory,
    search: Search,
    rng: Random,
) -> tuple[Fleet, Probe, Keeper]:
    """The fleet, who asks its workers what they are, and who lets them join and leave."""
    fleet = Fleet(search(settings.workers, rng), settings)
    probe = Probe(
        weighing=Weighing({name: own.revision for name, own in settings.models.items()}),
        interval_s=settings.probe_interval_s,
        timeout_s=settings.probe_timeout_s,
        stalls=stalls,
        metrics=metrics,
        rng=rng,
    )
    keeper = Keeper(
        fleet, probe=probe, metrics=metrics, hire=lambda url: _worker(link_factory(url, settings), settings)
    )
    return fleet, probe, keeper


def _cache(settings: Settings, metrics: Metrics) -> tuple[PairCache, "RedisTier | None"]:
    generations, weights = agreed.Generations(), agreed.Weights()
    shared = None
    if settings.redis_url and settings.cache:
        # Loading the library takes a sixth of the start, which only those pay who use it.
        from app.cache.redis import RedisTier  # noqa: PLC0415

        shared = RedisTier(
            settings.redis_url.get_secret_value(),
            timeout_s=settings.redis_timeout_s,
            ttl_s=settings.cache_ttl_s,
            generations=generations,
            weights=weights,
            metrics=metrics,
        )
    cache = PairCache(
        memory=MemoryTier(settings.cache_max_bytes),
        shared=shared,
        generations=generations,
        weights=weights,
        secret=_cache_secret(settings),
        ttl_s=settings.cache_ttl_s,
        shares_keys=settings.cache_shared,
        metrics=metrics,
    )
    return cache, shared


def _fallback(fleet: Fleet, admission: Admission, settings: Settings, metrics: Metrics) -> Fallback | None:
    if settings.fallback == "none":
        return None
    return Fallback(fleet, admission=admission, hold_s=settings.fallback_hold_s, metrics=metrics)


def _cache_secret(settings: Settings) -> bytes:
    """The key of the digests: what replicas share scores by has to be the same for all of them."""
    written = settings.cache_secret
    if written is not None:
        return sha256(written).digest()
    return b"" if settings.redis_url else token_bytes(SECRET_BYTES)


def _worker(link: WorkerLink, settings: Settings) -> Worker:
    limit = Limit(least=settings.worker_min_documents, most=settings.worker_max_documents, chunk=settings.max_batch)
    return Worker(link, limit=limit, max_calls=settings.worker_max_calls)
