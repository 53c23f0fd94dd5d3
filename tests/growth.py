"""How much memory a block takes and keeps."""

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager


class Traced:
    """What was allocated since the block began."""

    @property
    def most_bytes(self) -> int:
        """The most that was held at once."""
        return tracemalloc.get_traced_memory()[1]

    def kept_bytes(self) -> int:
        """What is held for good: the garbage collector runs first."""
        gc.collect()
        return tracemalloc.get_traced_memory()[0]


@contextmanager
def traced_memory() -> Iterator[Traced]:
    """Trace all that is allocated until the end of the block."""
    tracemalloc.start()
    try:
        yield Traced()
    finally:
        tracemalloc.stop()
