"""One clock for a whole process: what the product and its HTTP client read besides the loop's clock."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

# The loop's zero as seconds since 1970: some day in 2027.
_EPOCH_S = 1.8e9
_READERS = ("app.", "httpcore.")


@contextmanager
def one_clock(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have everything that was imported so far read the time from the loop until the end of the block.

    Limits by the process's own clock would end a little earlier or later in each run, and kept connections of httpx
    would never grow old while the loop's clock jumps.
    """

    def wall_s() -> float:
        return _EPOCH_S + loop.time()

    stands_for: dict[int, object] = {
        id(time.perf_counter): loop.time,
        id(time.monotonic): loop.time,
        id(time.time): wall_s,
        id(time): SimpleNamespace(**vars(time) | {"perf_counter": loop.time, "monotonic": loop.time, "time": wall_s}),
    }
    undo: list[Callable[[], None]] = []
    for module in [found for name, found in sys.modules.items() if name.startswith(_READERS)]:
        for name, value in list(vars(module).items()):
            if id(value) in stands_for:
                setattr(module, name, stands_for[id(value)])
                undo.append(lambda module=module, name=name, value=value: setattr(module, name, value))  # type: ignore[misc]
    try:
        yield
    finally:
        for step in undo:
            step()
