"""The port through which a worker is reached."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from app.types import Answer, Chunk


class ServedModel(NamedTuple):
    """One entry of a worker's `/v1/models`; `max_model_len` is in tokens."""

    name: str
    root: str
    max_model_len: int


class Identity(NamedTuple):
    """What a worker says it is."""

    version: str
    models: Sequence[ServedModel]


class WorkerLink(Protocol):
    """How a worker is reached. Every method raises `WorkerError` and nothing else."""

    name: str

    async def identify(self) -> Identity:
        """What the worker serves."""

    async def score(self, chunk: Chunk) -> Answer:
        """One finite score per document of the chunk, in the chunk's order. Cancelling it cancels the work."""

    async def count_tokens(self, model: str, text: str) -> int:
        """The tokens `text` has for `model`, special tokens left out."""

    async def close(self) -> None:
        """Let go of all connections."""
