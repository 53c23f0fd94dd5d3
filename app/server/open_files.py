"""Open files: every connection is one, and clients never get the last."""

import resource
from contextlib import suppress

# Beyond this a process is asked for more than it can serve.
_ENOUGH = 2**16
_MOST_CONNECTIONS = 10_000
# What the process has open by itself.
_OWN = 32


def raise_limit() -> None:
    """Let the process open as many files as the system lets it: the usual soft limit, 1024, is meant for `select`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(_ENOUGH, hard)
    if resource.RLIM_INFINITY != soft < wanted:
        # Some systems allow less than they say.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def for_clients(wanted: int | None) -> int:
    """Connections that clients may have: as many as wanted, and at most three quarters of the files that may be open.

    The last quarter is for workers, Redis and name servers: who is let in can be served.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _ENOUGH if soft == resource.RLIM_INFINITY else (soft - _OWN) * 3 // 4
    return min(wanted or _MOST_CONNECTIONS, max(1, allowed))
