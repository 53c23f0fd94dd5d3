"""How much memory a block takes and keeps."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def kept_bytes() -> Iterator[Callable[[], int]]:
    """Bytes that were allocated since the block began and are still held."""
    tracemalloc.start()

    def kept() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    try:
        yield kept
    finally:
        tracemalloc.stop()
