"""The limit of open files, of which clients' connections get three quarters at most."""

import resource
from contextlib import suppress

# One process can't serve more clients than this.
_MOST_FILES = 2**16
_MOST_CONNECTIONS = 10_000
# Files that the process has open without any client.
_OWN_FILES = 32


def raise_limit() -> None:
    """Raise the soft limit of open files to the hard one: the usual 1,024 is meant for `select`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(_MOST_FILES, hard)
    if resource.RLIM_INFINITY != soft < wanted:
        # Some systems allow less than they say.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def for_clients(wanted: int | None) -> int:
    """The number of client connections allowed: `wanted`, or three quarters of the open files if that is less.

    The last quarter is for workers, Redis and name servers, so that every connected client can be served.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _MOST_FILES if soft == resource.RLIM_INFINITY else (soft - _OWN_FILES) * 3 // 4
    return min(wanted or _MOST_CONNECTIONS, max(1, allowed))
