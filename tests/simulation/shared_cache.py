"""The cache that replicas share: a Redis in the simulated network, and what goes wrong with it."""

from random import Random

from tests.simulation.clock import VirtualLoop
from tests.simulation.plan import SharedTrouble
from tests.simulation.redis_manners import AS_REDIS, Manner
from tests.simulation.redis_server import RedisServer

URL = "redis://cache:6379"
_ADDRESS = "10.0.0.9"
_SLOW = Manner(takes_s=0.3)
_FULL = Manner(error="OOM command not allowed when used memory > 'maxmemory'.", only=frozenset({"EVAL", "HSET"}))
_EVICTED_SHARE = 0.5


class SharedCache:
    """A Redis at `URL`.

    Args:
        loop: In whose network it is.
        rng: Which keys are evicted.
    """

    def __init__(self, loop: VirtualLoop, rng: Random) -> None:
        self._loop = loop
        loop.network.name("cache", _ADDRESS)
        self._host = loop.network.host(_ADDRESS)
        self._server = RedisServer(self._host, rng=rng)

    def problem(self, kind: SharedTrouble, lasts_s: float) -> None:
        """Something goes wrong, and is well again after a while."""
        match kind:
            case "gone":
                self._host.stop()
            case "silent":
                self._host.freeze()
            case "slow":
                self._server.manner = _SLOW
            case "full":
                self._server.manner = _FULL
            case "flushed":
                self._server.flush()
            case "evicted":
                self._server.evict(_EVICTED_SHARE)
        self._loop.call_later(lasts_s, self._heal)

    def _heal(self) -> None:
        self._host.start()
        self._host.thaw()
        self._server.manner = AS_REDIS
