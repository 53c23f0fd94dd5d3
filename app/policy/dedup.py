"""Deduplication: equal pairs are scored once."""

from collections.abc import Hashable, Sequence


def dedup(names: Sequence[Hashable]) -> tuple[Sequence[int], Sequence[int]]:
    """The distinct names, and where each given name stands among them.

    Args:
        names: Equal ones belong to equal pairs.

    Returns:
        Where each distinct name stands first, in rising order; and for each given name, its position among those.
    """
    if len(set(names)) == len(names):
        return range(len(names)), range(len(names))
    seen: dict[Hashable, int] = {}
    # len(seen) is read before the name goes in: a new name's position is the number of names before it.
    positions = [seen.setdefault(name, len(seen)) for name in names]
    first = {position: index for index, position in reversed(list(enumerate(positions)))}
    return [first[position] for position in range(len(seen))], positions
