"""Faults to plant in the gateway, each in place of one function or rule: what the simulation has to find."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from tests.simulation.faults import cache, queueing, scoring, wire, workers
from tests.simulation.faults.planted import Planted

FAULTS: dict[str, Planted] = queueing.FAULTS | scoring.FAULTS | cache.FAULTS | workers.FAULTS | wire.FAULTS


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Have a fault in the gateway until the end of the block."""
    if name is None:
        yield
        return
    fault = FAULTS[name]
    with patch.object(fault.owner, fault.name, fault.wrong(getattr(fault.owner, fault.name))):
        yield
