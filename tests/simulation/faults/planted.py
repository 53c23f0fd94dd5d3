"""A fault to plant: what is wrong, and which function or rule is replaced for it."""

from collections.abc import Callable
from typing import Any, NamedTuple


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


def nothing(_: Any) -> Any:
    """In place of something that is done: nothing is."""
    return lambda *_, **__: None


def always(value: Any) -> Callable[[Any], Any]:
    """In place of a decision: always the same one."""
    return lambda _: lambda *_, **__: value
