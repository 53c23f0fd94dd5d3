"""The port through which a worker is reached."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from app.types import Answer, Pairs


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
    """The way to one worker. Every method raises `WorkerError` and nothing else."""

    name: str

    async def identify(self) -> Identity:
        """The worker's version, and the models it serves."""

    async def score(self, model: str, pairs: Pairs, fields: Mapping[str, Any], *, request_id: str) -> Answer:
        """One finite score per pair, in their order. Cancelling the call cancels the worker's work.

        Args:
            model: A name of one of the models the worker serves.
            pairs: Sent in one call.
            fields: What goes to the worker beside the model and the texts.
            request_id: Whom it is for. Each call that it takes is sent with an id of its own, which begins with it.
        """

    async def count_tokens(self, model: str, text: str, *, request_id: str) -> int:
        """The tokens `text` has for `model`, special tokens left out; `request_id` is as for `score`."""

    async def close(self) -> None:
        """Close all connections."""
