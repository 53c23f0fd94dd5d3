"""What goes past the event loop, led back to it: clocks, and lookups of names on threads of their own."""

import asyncio
import functools
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from tests.simulation.network import Networked, SimLoop, SimNetwork

T = TypeVar("T")

# The loop's zero as seconds since 1970: some day in 2027.
_EPOCH_S = 1.8e9
_SEED = 7
# Whose modules are looked through: the product's, and its HTTP client's.
_PACKAGES = ("app.", "httpcore.")
# Functions of the product that look a name up past the loop, by module and name. They take host and port.
_LOOKUPS = (("app.net.dialer", "look_up"),)


@contextmanager
def simulated(loop: Networked) -> Iterator[None]:
    """Have all that was imported so far go by the loop until the end of the block.

    Limits by the process's own clock would end a little earlier or later in each run, kept connections of httpx would
    never grow old, and a thread's answer would come at any time.
    """

    def wall_s() -> float:
        return _EPOCH_S + loop.time()

    def look_up(host: str, port: int | None = None) -> asyncio.Future[Any]:
        return loop.network.look_up(host, port, has_thread=True)

    clocks = {"perf_counter": loop.time, "monotonic": loop.time, "time": wall_s}
    stand_ins: dict[int, object] = {id(getattr(time, name)): clock for name, clock in clocks.items()}
    stand_ins[id(time)] = SimpleNamespace(**vars(time) | clocks)
    stand_ins |= {id(getattr(sys.modules[where], name)): look_up for where, name in _LOOKUPS if where in sys.modules}
    replaced = [
        (module, name, value)
        for where, module in list(sys.modules.items())
        if where.startswith(_PACKAGES)
        for name, value in list(vars(module).items())
        if id(value) in stand_ins
    ]
    for module, name, value in replaced:
        setattr(module, name, stand_ins[id(value)])
    try:
        yield
    finally:
        for module, name, value in replaced:
            setattr(module, name, value)


def network() -> SimNetwork:
    """The network of the running loop."""
    return cast("Networked", asyncio.get_running_loop()).network


def now() -> float:
    """The running loop's time, in seconds."""
    return asyncio.get_running_loop().time()


def over_network(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on a `SimLoop`; it fails when it leaves tasks or connections behind, or a callback fails."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        run_simulated(test(*args, **kwargs), seed=_SEED)

    return run


def run_simulated(story: Coroutine[Any, Any, T], *, seed: int) -> T:
    """What a coroutine returns on a `SimLoop`, run as `over_network` runs tests."""
    loop, complaints = SimLoop(Random(seed)), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    with asyncio.Runner(loop_factory=lambda: loop) as runner, simulated(loop):
        told = runner.run(_alone(story, loop))
    assert not complaints, complaints
    return told


async def _alone(story: Coroutine[Any, Any, T], loop: SimLoop) -> T:
    told = await story
    # What was closed a moment ago is over when the other end has heard of it.
    await asyncio.sleep(1.0)
    leftovers = asyncio.all_tasks() - {asyncio.current_task()}
    assert not leftovers, f"left behind: {leftovers}"
    assert loop.network.connections == 0, "connections stayed open"
    return told
