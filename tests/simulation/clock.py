"""The virtual clock: an event loop that jumps to its next timer, and everything else that tells the time."""

import selectors
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from math import floor
from random import Random
from typing import Any
from unittest.mock import patch

from app.api import access_log, rerank
from app.cache import redis_tier, score_cache
from app.cache.score_cache import ScoreCache
from app.scoring import gateway
from app.workers import lexical
from tests.simulation.network import Networked
from tests.simulation.seams import simulated

START_S = 1000.0
_EPOCH_S = 1_750_000_000.0
# Steps at one moment of virtual time after which nothing will ever be done.
_MOST_STEPS = 20_000
_ROUNDING = 1e-6
_SHORTEST_S = 1e-7


class Stuck(Exception):
    """The event loop turns without getting anywhere, or waits for nothing."""


class VirtualLoop(Networked):
    """Where a real loop would sleep, this one sets its clock forward; its network is in memory.

    Args:
        rng: Of the network's chance.
        is_coarse: Whether `time` tells whole milliseconds, as uvloop's does.
    """

    def __init__(self, rng: Random, *, is_coarse: bool = False) -> None:
        self.now = START_S
        self._is_coarse = is_coarse
        self.complaints: list[dict[str, Any]] = []
        super().__init__(_JumpingSelector(self))
        self.use_network(rng)
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    def time(self) -> float:
        return floor(self.now * 1000 + _ROUNDING) / 1000 if self._is_coarse else self.now

    @property
    def elapsed_s(self) -> float:
        """Virtual seconds since the beginning."""
        return self.now - START_S

    def stand_still(self, seconds: float) -> None:
        """The process gets no CPU for a while: whatever comes due meanwhile comes at once."""
        self.now += seconds


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._steps = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("everybody waits and no timer is set: a deadlock")
        if timeout > 0:
            # A timeout that rounding left must not be one that never ends.
            self._loop.now += max(timeout, _SHORTEST_S)
            self._steps = 0
        else:
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise Stuck(f"{_MOST_STEPS} steps of the event loop at one moment")
        # Nothing here has a socket: a real select would only cost.
        return []


@contextmanager
def telling(loop: VirtualLoop, *, has_network: bool) -> Iterator[None]:
    """Have all code of the gateway go by the loop's clock until the end of the block.

    Args:
        loop: Whose clock goes.
        has_network: Whether the gateway connects anywhere: names are looked up in the simulated network, then. To look
            for all that this takes in all modules costs as much as a tenth of a run.
    """

    def of_day() -> float:
        return _EPOCH_S + loop.now

    defaults = dict(ScoreCache.__init__.__kwdefaults__ or {}) | {"clock": of_day}
    with (
        patch.object(ScoreCache.__init__, "__kwdefaults__", defaults),
        simulated(loop) if has_network else _measuring(loop.time),
    ):
        yield


@contextmanager
def _measuring(tells: Callable[[], float]) -> Iterator[None]:
    """Have durations measured by another clock."""
    measuring = (rerank, access_log, score_cache, redis_tier, lexical, gateway)
    with ExitStack() as stack:
        for module in measuring:
            stack.enter_context(patch.object(module, "perf_counter", tells))
        yield
