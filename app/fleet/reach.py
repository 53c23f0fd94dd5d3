"""Which link leads to a worker."""

import ssl
from collections.abc import Callable

from app.fleet.lexical import LexicalLink
from app.fleet.link import WorkerLink
from app.fleet.vllm import VllmLink
from app.settings import Settings

LinkFactory = Callable[[str, Settings], WorkerLink]


def reach(url: str, settings: Settings, tls: ssl.SSLContext | None = None) -> WorkerLink:
    """The link for a worker's URL; `lexical://` is the embedded worker."""
    if url.startswith("lexical://"):
        return LexicalLink()
    key = settings.worker_api_key.get_secret_value() if settings.worker_api_key else None
    return VllmLink(url, api_key=key, connect_timeout_s=settings.worker_connect_timeout_s, tls=tls)
