"""What Redis holds, and what of it can be trusted: keys and values as bytes, and answers that may be anything.

The number in the prefix is that of this layout: replicas of two layouts share nothing.
"""

import struct
from collections.abc import Sequence
from time import time

from app.work import LARGEST_SCORE

_PREFIX = b"rerank:1:"
GENERATIONS = _PREFIX + b"generations"
# The score, the second since 1970 at which it expires, and the beginning of its digest, by which an answer that belongs
# to another question is told apart.
_VALUE = struct.Struct("<dI4s")
_TAG = slice(4)
_LARGEST_GENERATION = 2**63

Known = tuple[float, int]


def key_of(digest: bytes) -> bytes:
    """The key of a pair."""
    return _PREFIX + digest


def value_of(digest: bytes, score: float, expiry: int) -> bytes:
    """The value of a pair."""
    return _VALUE.pack(score, expiry, digest[_TAG])


def known_in(answer: object, digests: Sequence[bytes]) -> list[Known | None]:
    """Score and expiry of each pair that was asked for; None where there is none, or no longer.

    Raises:
        ValueError: it is no answer to this question.
    """
    if not isinstance(answer, list) or len(answer) != len(digests):
        raise ValueError(f"it answered a question about {len(digests)} pairs with something else")
    now = time()
    return [
        None if value is None else _known(value, digest, now) for value, digest in zip(answer, digests, strict=True)
    ]


def generations_in(answer: object) -> dict[str, int]:
    """The number of each model's generation.

    Raises:
        ValueError: they are no generations.
    """
    if not isinstance(answer, list) or not all(isinstance(part, bytes) for part in answer):
        raise ValueError("it answered the question about generations with something else")
    generations = {model.decode(): int(number) for model, number in zip(answer[::2], answer[1::2], strict=True)}
    if not all(0 <= number < _LARGEST_GENERATION for number in generations.values()):
        raise ValueError("it holds a generation that nobody can have begun")
    return generations


def _known(value: object, digest: bytes, now: float) -> Known | None:
    if not isinstance(value, bytes) or len(value) != _VALUE.size:
        raise ValueError("it holds a value that no replica can have written")
    score, expiry, tag = _VALUE.unpack(value)
    if tag != digest[_TAG] or not -LARGEST_SCORE <= score <= LARGEST_SCORE:
        raise ValueError("it answered with the value of another pair")
    return (score, expiry) if expiry > now else None
