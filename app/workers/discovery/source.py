"""The interface of a source of workers."""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

# The URLs of all workers there are, and whether each may have new work. One that isn't in it any more has left.
Endpoints = Mapping[str, bool]


class DiscoveryError(Exception):
    """A source couldn't look; the message says why, without secrets."""


class Source(Protocol):
    """A place where workers are found.

    Args:
        name: The source's name in messages and the log; without secrets.
    """

    name: str

    @property
    def problem(self) -> str | None:
        """The reason why it sees no worker, or couldn't look the last time; None when all is well."""

    @property
    def has_answered(self) -> bool:
        """True once it has had an answer, even one without a worker."""

    def watch(self) -> AsyncIterator[Endpoints]:
        """The workers it sees, now and after every change, for ever. No failure of what it asks ends it."""
