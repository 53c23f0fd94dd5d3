"""A connection in memory: its two ends, and the ways between them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.simulation.transport import SimTransport
from tests.simulation.wire import Conditions, Tell, Way

_ENDS = 2


@dataclass(frozen=True, slots=True)
class Connection:
    """Two ends that are joined by a way there and a way back."""

    client: SimTransport
    server: SimTransport
    ways: tuple[Way, Way]


def connect(
    client: SimTransport,
    server: SimTransport,
    *,
    loop: asyncio.AbstractEventLoop,
    rng: Random,
    conditions: Conditions,
    tell: Tell | None,
    on_end: Callable[[], None],
) -> Connection:
    """Join two ends; `on_end` is called when both are lost."""

    lost: list[None] = []

    def note_lost() -> None:
        lost.append(None)
        if len(lost) == _ENDS:
            on_end()

    there = Way(client, server, loop=loop, rng=rng, conditions=conditions, tell=tell)
    back = Way(server, client, loop=loop, rng=rng, conditions=conditions, tell=tell)
    there.back, back.back = back, there
    client.join(there, note_lost)
    server.join(back, note_lost)
    return Connection(client, server, (there, back))
