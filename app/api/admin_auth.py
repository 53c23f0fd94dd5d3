"""Access to `/admin` and `/ui`: with the admin key or, when none is set, from this machine only.

A browser calls the gateway for any page that tells it to, with a password that was typed in before. So the site that a
call comes from is checked as well, with a key or without.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from ipaddress import ip_address
from urllib.parse import urlsplit

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from app.api.auth import Keys
from app.api.body import media_type_of
from app.api.responses import CLIENT_LEFT, refusal
from app.errors import Forbidden, NoAdminKey, RerankError, Unauthorized, WrongMediaType

Serve = Callable[[Request], Awaitable[Response]]

# A proxy on this machine makes calls from everywhere look like calls from here.
_PROXIED = ("forwarded", "via", "x-forwarded-for", "x-real-ip")


class AdminAuth:
    """The access check before `/admin` and `/ui`.

    Args:
        keys: The admin key, or none; API keys of clients don't count.
        host: The address the gateway listens on.
    """

    def __init__(self, keys: Keys, *, host: str) -> None:
        self._keys = keys
        self._is_local = _is_loopback(host)

    @property
    def can_admit(self) -> bool:
        """True if anybody could get in: there is an admin key, or the gateway listens on loopback."""
        return self._is_local or not self._keys.is_open

    def check(self, request: Request) -> None:
        """Check that the request may use `/admin`.

        Raises:
            Forbidden: it comes from a page of another site, or from another machine while there is no admin key.
            NoAdminKey: there is an admin key, and the request has another one or none.
            WrongMediaType: it changes something and isn't declared as JSON, so a page of another site could send it.
        """
        # First: a page of another site must not even make the browser ask for a password.
        _check_site(request)
        if self._keys.is_open:
            self._check_machine(request)
        else:
            self._check_key(request)
        if request.method == "POST":
            _check_type(request)

    def protected(self, serve: Serve) -> Serve:
        """The endpoint behind this check, with its errors in our usual shape and its answers kept out of caches."""

        @wraps(serve)
        async def serve_guarded(request: Request) -> Response:
            try:
                self.check(request)
                response = await serve(request)
            except ClientDisconnect:
                response = Response(status_code=CLIENT_LEFT)
            except RerankError as error:
                response = refusal(request, error)
            response.headers["Cache-Control"] = "no-store"
            return response

        return serve_guarded

    def _check_key(self, request: Request) -> None:
        try:
            self._keys.name_of(request.headers.get("authorization"))
        except Unauthorized:
            message = "The admin key is needed: send it as `Authorization: Bearer KEY`, or as the Basic password."
            # For a script's call a browser would prompt for the password in the middle of a page, again and again.
            is_script = request.headers.get("sec-fetch-mode", "navigate") != "navigate"
            raise (Unauthorized if is_script else NoAdminKey)(message) from None

    def _check_machine(self, request: Request) -> None:
        """Check that the request comes over loopback, and names no host that a foreign DNS server points here."""
        is_direct = not any(name in request.headers for name in _PROXIED)
        if not (self._is_local and is_direct and _is_loopback(_host_of(request))):
            raise Forbidden("Without a key this opens on the machine itself only: set RERANK_ADMIN_KEY.")


def _check_site(request: Request) -> None:
    """Refuse requests of pages of other sites. A followed link is harmless: that page can't read the answer."""
    headers = request.headers
    is_followed = request.method == "GET" and headers.get("sec-fetch-mode") == "navigate"
    is_link = is_followed and headers.get("sec-fetch-dest") == "document"
    is_foreign = headers.get("sec-fetch-site") in {"cross-site", "same-site"} and not is_link
    if is_foreign or not _is_own(headers.get("origin"), request):
        raise Forbidden("This was sent by a page of another site: open the gateway's own.")


def _is_own(origin: str | None, request: Request) -> bool:
    """True if the origin is this gateway. Schemes aren't compared: TLS may end at a proxy."""
    if origin is None:
        return True
    scheme, _, place = origin.lower().partition("://")
    return scheme in {request.scope["scheme"], "https"} and place == request.headers.get("host", "").lower()


def _check_type(request: Request) -> None:
    # A page may send this type to another site only after a CORS preflight, which is never granted here.
    if media_type_of(request.headers) != "application/json":
        raise WrongMediaType("What changes something must be JSON: send the header Content-Type: application/json.")


def _host_of(request: Request) -> str:
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
