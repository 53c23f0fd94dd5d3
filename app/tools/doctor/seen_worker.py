"""What is seen of one worker."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.settings import Settings
from app.tools.doctor.server_client import ServerClient

_MAX_PROBE_TIMEOUT_S = 5.0


@dataclass(eq=False)
class SeenWorker:
    """What was seen of one worker.

    Args:
        model: The name it serves its first model under; "" until that is known.
        traits: What else the gateway tells workers of a model apart by: root, length, version.
        scores: Of the fixed pairs; empty until there are some.
    """

    client: ServerClient
    model: str = ""
    max_model_len: int = 0
    version: str = ""
    traits: tuple[str, ...] = ()
    scores: Sequence[float] = field(default_factory=tuple)


def probe_timeout_s(settings: Settings) -> float:
    """How long the gateway's probe waits, as far as there is time for it here."""
    return min(settings.probe_timeout_s, _MAX_PROBE_TIMEOUT_S)
