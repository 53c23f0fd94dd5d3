"""What is to be examined."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.settings import Settings

# Longer than the 5 s after which uvicorn, and so vLLM, closes an idle connection.
SHORT_IDLE_S = 7.0
# Milvus uses a connection again that was idle for up to 90 s.
FULL_IDLE_S = 91.0
# With the start and the end of the process, the whole command stays below 30 s.
LIMIT_S = 26.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """One run.

    Args:
        url: Where the gateway, or what stands in its place, answers; may hold credentials.
        key: The client's API key.
        workers: Entries as in `RERANK_WORKERS`; those of the settings when there are none.
        settings: The gateway's, as far as they are known here.
        knows_settings: Whether they are more than defaults, so that it makes sense to judge them.
        trusts_all: Whether certificates are taken as they come.
        idle_s: How long an idle connection is watched.
        limit_s: For everything but a long watch.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    workers: Sequence[str] = field(default=(), repr=False)
    settings: Settings
    knows_settings: bool = False
    trusts_all: bool = False
    idle_s: float = SHORT_IDLE_S
    limit_s: float = LIMIT_S
