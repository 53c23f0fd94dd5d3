"""How a simulated Redis answers where it doesn't answer as Redis: late, with errors, with lies."""

from collections.abc import Callable
from dataclasses import dataclass


class ResponseError(Exception):
    """An answer that begins with a minus; its first word is its kind."""


class Status(str):
    """An answer in one word, such as OK."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How commands are answered; as it is, as by Redis.

    Args:
        takes_s: How long each command takes, one after the other.
        hangs: Commands are read and never answered.
        error: The answer to all commands in `only`, or to all: "LOADING Redis is loading the dataset in memory".
        only: Commands by name that `error` and `lie` hold for; all if empty.
        lie: Makes another answer of the right one.
        extra: Bytes that are sent after each answer, unasked.
    """

    takes_s: float = 0.0
    hangs: bool = False
    error: str | None = None
    only: frozenset[str] = frozenset()
    lie: Callable[[object], object] | None = None
    extra: bytes = b""


AS_REDIS = Manner()


def _of_list(change: Callable[[list[object]], list[object]]) -> Callable[[object], object]:
    return lambda answer: change(answer) if isinstance(answer, list) else answer


# What a server that is broken, or no Redis at all, may answer to a lookup.
LIES = {
    "one answer too few": _of_list(lambda rows: rows[:-1]),
    "one answer too many": _of_list(lambda rows: [*rows, None]),
    "the values of other pairs": _of_list(lambda rows: rows[1:] + rows[:1]),
    "values backwards": _of_list(lambda rows: [row[::-1] if isinstance(row, bytes) else row for row in rows]),
    "values cut": _of_list(lambda rows: [row[:-1] if isinstance(row, bytes) else row for row in rows]),
    "empty values": _of_list(lambda rows: [b"" for _ in rows]),
    "numbers": _of_list(lambda rows: [5 for _ in rows]),
    "lists": _of_list(lambda rows: [[] for _ in rows]),
    "errors inside": _of_list(lambda rows: [ResponseError("ERR no") for _ in rows]),
    "a number": lambda _: 5,
    "a status": lambda _: Status("OK"),
    "nothing": lambda _: None,
    "no list": lambda _: b"text",
}

ERRORS = (
    "OOM command not allowed when used memory > 'maxmemory'.",
    "READONLY You can't write against a read only replica.",
    "LOADING Redis is loading the dataset in memory",
    "NOAUTH Authentication required.",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "CLUSTERDOWN The cluster is down",
    "MOVED 3999 127.0.0.1:6381",
    "ASK 3999 127.0.0.1:6381",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "NOPERM this user has no permissions to run the 'mget' command",
    "NOREPLICAS Not enough good replicas to write.",
    "EXECABORT Transaction discarded because of previous errors.",
    "ERR max number of clients reached",
    "ERR",
    "",
)
