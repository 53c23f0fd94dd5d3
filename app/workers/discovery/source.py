"""The port through which workers are found."""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

# The URLs of all workers there are, and whether each may have new work. One that isn't in it any more has left.
Endpoints = Mapping[str, bool]


class DiscoveryError(Exception):
    """A source couldn't look; the message says why, without secrets."""


class Source(Protocol):
    """Where workers are found.

    Args:
        name: As messages and the log show it; without secrets.
    """

    name: str

    @property
    def problem(self) -> str | None:
        """Why it sees no worker, or what kept it from looking the last time; None when all is well."""

    @property
    def has_answered(self) -> bool:
        """Whether it has seen anything yet, were it that there is no worker."""

    def watch(self) -> AsyncIterator[Endpoints]:
        """What it sees, now and after every change, for ever. It survives every failure of whom it asks."""
