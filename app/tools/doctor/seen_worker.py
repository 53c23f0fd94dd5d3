"""The observations of one worker."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.settings import Settings
from app.tools.doctor.server_client import ServerClient

_MAX_PROBE_TIMEOUT_S = 5.0


@dataclass(eq=False)
class SeenWorker:
    """One worker, and what was observed of it.

    Args:
        model: Name of the first model it serves; "" until that is known.
        traits: What else the gateway tells workers of a model apart by: root, length, version.
        scores: Scores of the fixed pairs; empty until they are known.
    """

    client: ServerClient
    model: str = ""
    max_model_len: int = 0
    version: str = ""
    traits: tuple[str, ...] = ()
    scores: Sequence[float] = field(default_factory=tuple)


def probe_timeout_s(settings: Settings) -> float:
    """The time limit for a probe, in seconds: the gateway's, but no longer than fits into this run."""
    return min(settings.probe_timeout_s, _MAX_PROBE_TIMEOUT_S)
