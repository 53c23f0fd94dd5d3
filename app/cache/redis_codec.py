"""The Redis codec: keys and values as bytes, and the checks on what comes back.

The number in the prefix is that of this layout: replicas of two layouts share nothing.
"""

import struct
from collections.abc import Sequence
from hashlib import sha256
from time import time
from typing import get_args

import orjson

from app.policy.check_verdict import CheckResult, Reason
from app.policy.model_profile import Traits
from app.policy.truncate import Truncation
from app.types import LARGEST_SCORE, Fingerprint, Kind, ScoreScale

_PREFIX = b"rerank:1:"
GENERATIONS = _PREFIX + b"generations"
# The score, the second since 1970 at which it expires, and the beginning of its digest, by which an answer that belongs
# to another question is told apart.
_VALUE = struct.Struct("<dI4s")
_TAG = slice(4)
_LARGEST_GENERATION = 2**63
# More models than one gateway serves, and a longer name than any has. What is beyond was written by no replica, and
# reading it every few seconds would hold up requests.
MOST_GENERATIONS = 1000
_LONGEST_MODEL_BYTES = 1000
_NAMES = _PREFIX + b"weights:"
_LONGEST_NAMES_BYTES = 16_384
_RESULT = _PREFIX + b"check:"
_LONGEST_RESULT_BYTES = 2000
_MOST_ASKED = 24
Known = tuple[float, int]


def key_of(digest: bytes) -> bytes:
    """The key of a pair."""
    return _PREFIX + digest


def value_of(digest: bytes, score: float, expiry: int) -> bytes:
    """The value of a pair."""
    return _VALUE.pack(score, expiry, digest[_TAG])


def known_in(answer: object, digests: Sequence[bytes]) -> list[Known | None]:
    """The score and expiry of each pair that was asked for; None where there is none, or it has expired.

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
    if len(answer) > 2 * MOST_GENERATIONS or any(len(part) > _LONGEST_MODEL_BYTES for part in answer):
        raise ValueError("it holds generations of more models, or longer names, than there can be")
    generations = {model.decode(): int(number) for model, number in zip(answer[::2], answer[1::2], strict=True)}
    if not all(0 <= number < _LARGEST_GENERATION for number in generations.values()):
        raise ValueError("it holds a generation that nobody can have begun")
    return generations


def names_key_of(fingerprint: Fingerprint) -> bytes:
    """The key of the names for the weights of a fingerprint, given without weights."""
    return _NAMES + _hash_of(fingerprint)


def names_value_of(names: Sequence[str]) -> bytes:
    """The value of a list of names."""
    return ";".join(names).encode()


def names_in(answer: object, count: int) -> list[Sequence[str]]:
    """The lists of names for `count` fingerprints; empty where there is none, or what no replica can have written.

    Raises:
        ValueError: it is no answer to this question.
    """
    if not isinstance(answer, list) or len(answer) != count or not {*map(type, answer)} <= {bytes, type(None)}:
        raise ValueError(f"it answered a question about the names of {count} weights with something else")
    return [_names(value) for value in answer]


def result_key_of(fingerprint: Fingerprint) -> bytes:
    """The key of what a check has found about a fingerprint."""
    return _RESULT + _hash_of(fingerprint)


def result_value_of(result: CheckResult) -> bytes:
    """The value of a result."""
    return orjson.dumps(result)


def results_in(answer: object, count: int) -> list[CheckResult | None]:
    """The results about `count` fingerprints; None where there is none, or what no replica can have written.

    Raises:
        ValueError: it is no answer to this question.
    """
    if not isinstance(answer, list) or len(answer) != count or not {*map(type, answer)} <= {bytes, type(None)}:
        raise ValueError(f"it answered a question about the checks of {count} models with something else")
    return [_result(value) for value in answer]


def _result(value: bytes | None) -> CheckResult | None:
    if not value or len(value) > _LONGEST_RESULT_BYTES:
        return None
    try:
        told = orjson.loads(value)
        told |= {"learned": Traits(**told["learned"]), "unsure_of": tuple(told["unsure_of"])}
        result = CheckResult(**told)
    except (ValueError, TypeError, KeyError):
        return None
    return result if _is_sound(result) else None


def _is_sound(result: CheckResult) -> bool:
    """True when a replica can have found this: what it says decides how a model is asked."""
    learned, counts = result.learned, (result.kept, result.asked)
    return (
        learned.kind in (None, *get_args(Kind))
        and learned.truncation in (None, *get_args(Truncation))
        and learned.score_scale in (None, *get_args(ScoreScale))
        and learned.multimodal in (None, True, False)
        and learned.splits_images in (None, True, False)
        and result.suspicion in (None, *get_args(Reason))
        and all(type(number) is int and 0 <= number <= _MOST_ASKED for number in counts)
        and all(isinstance(one, str) for one in result.unsure_of)
    )


def _hash_of(fingerprint: Fingerprint) -> bytes:
    return sha256("\0".join(map(str, fingerprint)).encode()).digest()[:16]


def _names(value: bytes | None) -> Sequence[str]:
    if not value or len(value) > _LONGEST_NAMES_BYTES or not value.isascii():
        # Ours will take its place.
        return ()
    return value.decode().split(";")


def _known(value: object, digest: bytes, now: float) -> Known | None:
    if not isinstance(value, bytes) or len(value) != _VALUE.size:
        raise ValueError("it holds a value that no replica can have written")
    score, expiry, tag = _VALUE.unpack(value)
    if tag != digest[_TAG] or not -LARGEST_SCORE <= score <= LARGEST_SCORE:
        raise ValueError("it answered with the value of another pair")
    return (score, expiry) if expiry > now else None
