"""The choice of a link for a worker's URL."""

import ssl
from collections.abc import Callable

from app.settings import Settings
from app.workers.call_ids import CallIds
from app.workers.lexical import LexicalLink
from app.workers.link import WorkerLink
from app.workers.vllm import VllmLink

LinkFactory = Callable[[str, Settings], WorkerLink]


def connect(
    url: str, settings: Settings, tls: ssl.SSLContext | None = None, call_ids: CallIds | None = None
) -> WorkerLink:
    """The link for a worker's URL; `lexical://` is the embedded worker. Links of one process share `call_ids`."""
    if url.startswith("lexical://"):
        return LexicalLink()
    key = settings.worker_api_key.get_secret_value() if settings.worker_api_key else None
    return VllmLink(
        url, api_key=key, connect_timeout_s=settings.worker_connect_timeout_s, tls=tls, call_ids=call_ids or CallIds()
    )
