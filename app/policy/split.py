"""Splitting: a list of documents is cut into chunks."""

from collections.abc import Sequence
from heapq import heappop, heappush, heapreplace
from itertools import repeat
from math import ceil


def split(
    tokens: Sequence[int], *, workers: int, max_batch: int, max_batch_tokens: int, min_batch: int
) -> Sequence[Sequence[int]]:
    """Cut documents into pieces of about equal work.

    Args:
        tokens: Estimated tokens of each pair, each at least 1.
        workers: How many workers of full speed the usable ones are worth, at least 1.
        max_batch: Documents per piece at most.
        max_batch_tokens: Tokens per piece at most; a longer document gets a piece of its own.
        min_batch: A list is spread over idle workers only as long as pieces keep this many documents on average.

    Returns:
        Pieces as rising lists of indices into `tokens`; every index stands in exactly one piece.
    """
    count = _piece_count(tokens, workers, max_batch, max_batch_tokens, min_batch)
    if count == 1:
        return [range(len(tokens))]
    pieces: list[list[int]] = [[] for _ in range(count)]
    lightest = [(0, piece) for piece in range(count)]
    # Longest first, each to the piece with the least work so far (Graham 1969): no piece ends above the mean by more
    # than one document.
    for index in sorted(range(len(tokens)), key=tokens.__getitem__, reverse=True):
        before, number = lightest[0]
        load = before + tokens[index]
        if load > max_batch_tokens and before:
            heappush(lightest, (tokens[index], len(pieces)))
            pieces.append([index])
            continue
        piece = pieces[number]
        piece.append(index)
        if len(piece) == max_batch:
            heappop(lightest)
        else:
            heapreplace(lightest, (load, number))
    return [sorted(piece) for piece in pieces if piece]


def _piece_count(tokens: Sequence[int], workers: int, max_batch: int, max_batch_tokens: int, min_batch: int) -> int:
    """The pieces the limits need, rounded up to the same number for each worker where `min_batch` allows it."""
    documents = len(tokens)
    fitting = sum(tokens) if max(tokens) <= max_batch_tokens else sum(map(min, tokens, repeat(max_batch_tokens)))
    needed = max(ceil(documents / max_batch), ceil(fitting / max_batch_tokens))
    spread = min(ceil(needed / workers) * workers, documents // min_batch)
    return max(1, min(documents, max(needed, spread)))
