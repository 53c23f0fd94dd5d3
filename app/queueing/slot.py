"""A slot: permission for one call in flight."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from app.types import Chunk
from app.workers.worker import Worker


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """A call's place on a worker, until the end of its `with` block.

    Args:
        worker: The worker that gets the call.
        chunk: The pairs to be scored there.
        generation: Of the worker's breaker when the slot was granted; tells late results from others.
        held_documents: Documents the worker held then, this call's included.
        held_tokens: The same in tokens.
        release: Takes the slot back.
    """

    worker: Worker
    chunk: Chunk
    generation: int
    held_documents: int
    held_tokens: int
    release: Callable[["Slot"], None]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release(self)

    @property
    def is_outdated(self) -> bool:
        """True when the worker's state has changed since: the call's end says nothing about it as it is now."""
        return self.generation != self.worker.breaker.generation
