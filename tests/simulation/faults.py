"""Faults to plant in the gateway, each in place of one function or rule: what a machine that finds faults has to find."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch


class Planted(NamedTuple):
    """A fault.

    Args:
        says: What is wrong, in a line.
        owner: The module or class whose `name` is replaced.
        name: Of the function or rule.
        wrong: Makes the wrong one from the right one.
    """

    says: str
    owner: Any
    name: str
    wrong: Callable[[Any], Any]


FAULTS: dict[str, Planted] = {}


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Have a fault in the gateway until the end of the block."""
    if name is None:
        yield
        return
    fault = FAULTS[name]
    with patch.object(fault.owner, fault.name, fault.wrong(getattr(fault.owner, fault.name))):
        yield
