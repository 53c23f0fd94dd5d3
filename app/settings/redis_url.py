"""The URL of Redis: that of one server, of the sentinels that know a primary, or of the nodes of a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

# The first for all URLs, the others for TLS.
REDIS_OPTIONS = ("db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_USUAL_SENTINEL_PORT = 26379


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A URL in its parts, from which those of single servers are made.

    Args:
        scheme: redis or rediss; unix too where `kind` is empty.
        kind: cluster, sentinel, or empty for one server.
        credentials: User and password with their @, or empty.
        addresses: Host, and port where it isn't the usual one, of each server that the URL names.
        path: The number of the database behind a slash, or empty.
        query: Options.
        primary: What sentinels call the primary.
    """

    scheme: str
    kind: str
    credentials: str
    addresses: Sequence[str]
    path: str
    query: str
    primary: str

    @property
    def password(self) -> str:
        """The password, or an empty text."""
        return unquote(self.credentials.removesuffix("@").partition(":")[2])

    def to(self, address: str) -> str:
        """The URL of a single server of which this one tells how to reach it."""
        return urlunsplit((self.scheme, self.credentials + address, self.path, self.query, ""))

    def to_sentinels(self) -> Sequence[str]:
        """The URLs of the sentinels; those that want no password refuse one, so each stands there without it too."""
        credentials = dict.fromkeys(["", self.credentials])
        return [
            urlunsplit((self.scheme, before + address, "", self.query, ""))
            for before in credentials
            for address in self.addresses
        ]


def parse_redis_url(url: str) -> RedisUrl:
    """The parts of a URL.

    Raises:
        ValueError: it is no URL.
    """
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    user, at, hosts = parts.netloc.rpartition("@")
    path, primary = parts.path, ""
    addresses = hosts.split(",") if kind else [hosts]
    if kind == "sentinel":
        primary, slash, database = path.removeprefix("/").partition("/")
        path = slash + database
        addresses = [_with_port(address) for address in addresses]
    return RedisUrl(scheme, kind, user + at, addresses, path, parts.query, primary)


def is_redis_url(url: str) -> bool:
    """True if redis-py can parse the URL and it sets nothing that the gateway sets itself, such as time limits."""
    try:
        parts = parse_redis_url(url)
        if urlsplit(url).fragment or not parts.scheme:
            return False
        if not parts.kind:
            return _is_of_one_server(url)
        if parts.scheme == "unix" or not all(_is_of_one_server(parts.to(address)) for address in parts.addresses):
            return False
    except ValueError:
        return False
    if parts.kind == "sentinel":
        return bool(parts.primary)
    # A cluster has one database.
    return parts.kind == "cluster" and parts.path in {"", "/", "/0"} and "db=" not in parts.query


def _with_port(address: str) -> str:
    return address if urlsplit(f"//{address}").port else f"{address}:{_USUAL_SENTINEL_PORT}"


def _is_of_one_server(url: str) -> bool:
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    database = options.get("db", "0" if parts.scheme == "unix" else parts.path.strip("/") or "0")
    has_place = bool(parts.path if parts.scheme == "unix" else parts.hostname)
    taken = REDIS_OPTIONS if parts.scheme == "rediss" else REDIS_OPTIONS[:1]
    return (
        parts.scheme in {"redis", "rediss", "unix"}
        and parts.port != 0
        and has_place
        and database.isascii()
        and database.isdigit()
        and options.keys() <= set(taken)
        and options.get("ssl_cert_reqs", "none") in {"none", "optional", "required"}
    )
