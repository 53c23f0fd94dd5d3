"""Cross-origin resource sharing (CORS): which other sites' pages may call the gateway and read its answers."""

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.request import HttpRequest

# The response headers that a page may read, besides those that every page may.
_EXPOSED = (
    "Retry-After",
    "Server-Timing",
    "WWW-Authenticate",
    "X-Request-Id",
    "X-Rerank-Cache-Hits",
    "X-Rerank-Degraded",
)
# For operators and Prometheus. Whether a page may call `/admin` is decided in `admin_auth`.
_NEVER_OPENED = ("/admin", "/ui", "/metrics")


class Cors:
    """The rules by which browsers let pages of other sites call the gateway.

    Browsers are never told to send credentials of their own, such as a password that was typed in: a page has to know
    its API key. The rules are Starlette's; its middleware would keep answers from leaving in one write.

    Args:
        origins: Of the pages, such as `https://app.example`; `*` for all.
    """

    def __init__(self, origins: Collection[str]) -> None:
        self._rules = CORSMiddleware(
            _nothing,
            allow_origins=origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=_EXPOSED,
        )

    def asks_first(self, request: HttpRequest) -> bool:
        """True for a preflight: a browser asks whether a page may make a request."""
        is_question = request.scope["method"] == "OPTIONS" and "access-control-request-method" in request.headers
        return is_question and _is_opened(request)

    async def answer_preflight(self, request: HttpRequest) -> Response:
        """The response to a preflight, with status 400 when the page may not."""
        return self._rules.preflight_response(Headers(scope=request.scope))

    def add_headers(self, headers: MutableHeaders, request: HttpRequest) -> None:
        """Add the headers by which a browser lets a page read the answer to anything but a preflight."""
        if not _is_opened(request) or self.asks_first(request):
            return
        origin = request.headers["origin"]
        headers.update(self._rules.simple_headers)
        if self._rules.is_allowed_origin(origin) and not self._rules.allow_all_origins:
            headers["Access-Control-Allow-Origin"] = origin
        headers.add_vary_header("Origin")


def _is_opened(request: HttpRequest) -> bool:
    is_closed = any(request.path == path or request.path.startswith(path + "/") for path in _NEVER_OPENED)
    return "origin" in request.headers and not is_closed


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """The application behind the middleware, of which only the rules are used."""
