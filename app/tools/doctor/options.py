"""The options of the doctor."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.settings import Settings

# Longer than the 5 s after which uvicorn, and so vLLM, closes an idle connection.
SHORT_IDLE_S = 7.0
# Milvus uses a connection again that was idle for up to 90 s.
FULL_IDLE_S = 91.0
# With the start and the end of the process, the whole command stays below 30 s.
LIMIT_S = 26.0
# What Milvus 2.6 waits for one call, its tries included, and 3.0 unless it is told otherwise.
MILVUS_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of one run.

    Args:
        url: URL of the gateway, or of another server in its place; may hold credentials.
        key: The client's API key.
        workers: Entries as in `RERANK_WORKERS`; those of the settings when there are none.
        settings: The gateway's, as far as they are known here.
        knows_settings: True if they are more than defaults, so that checks of them make sense.
        trusts_all: Accept any certificate.
        milvus_timeout_s: Seconds for which Milvus waits for one call.
        idle_s: Seconds for which an idle connection is watched.
        limit_s: Seconds for everything else together.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    workers: Sequence[str] = field(default=(), repr=False)
    settings: Settings
    knows_settings: bool = False
    trusts_all: bool = False
    milvus_timeout_s: float = MILVUS_TIMEOUT_S
    idle_s: float = SHORT_IDLE_S
    limit_s: float = LIMIT_S
