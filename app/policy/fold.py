"""Equal pairs are scored once."""

from collections.abc import Sequence

from app.work import Pairs


def fold(pairs: Pairs) -> tuple[Pairs, Sequence[int]]:
    """Drop repeated pairs.

    Returns:
        The distinct pairs in order of first appearance, and for each given pair its position among them.
    """
    one_query = len(pairs.queries) == 1
    keys: Sequence[object] = pairs.documents if one_query else list(zip(pairs.queries, pairs.documents, strict=True))
    seen: dict[object, int] = {}
    # len(seen) is read before the key goes in: a new key's position is the number of keys before it.
    positions = [seen.setdefault(key, len(seen)) for key in keys]
    if len(seen) == len(keys):
        return pairs, range(len(keys))
    first = {position: index for index, position in reversed(list(enumerate(positions)))}
    return pairs.take([first[position] for position in range(len(seen))]), positions
