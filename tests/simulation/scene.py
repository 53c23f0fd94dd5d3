"""The scene of a run: what clients, workers and faults of one plan have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.simulation.plan import WorkerSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The frame in which things happen.

    Args:
        duration_s: Within how many virtual seconds all begins.
        per_document_s: How long a worker takes for a short document.
        max_batch: Documents of the largest chunk.
        keys: Names of the API keys.
        models: Names of the models.
        replicas: How many gateways there are.
        is_calm: Whether nothing goes wrong.
        workers: All there will be.
    """

    duration_s: float
    per_document_s: float
    max_batch: int
    keys: Sequence[str]
    models: Sequence[str]
    replicas: int
    is_calm: bool
    workers: tuple[WorkerSpec, ...] = ()
