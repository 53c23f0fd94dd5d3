"""The digest of a pair, its name in the cache: pairs with equal digests have equal scores.

SHA-256 (FIPS 180-4) that begins with a secret: whoever doesn't know it can't make two texts collide, nor find out from
a digest whether a text was scored. Half of each hash is kept, so nobody can go on from it (length extension).
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson

from app.types import Fingerprint, Pairs, Side

if TYPE_CHECKING:
    from hashlib import _Hash

DIGEST_BYTES = 16
# What SHA-256 takes at once.
SECRET_BYTES = 64
# JSON can write half of a surrogate pair, which UTF-8 can't.
_HALF_PAIRS = "surrogatepass"
# Fields that concern the treatment of a call or the form of its answer, not its scores.
_NOT_SCORING = frozenset({"priority", "request_id", "user", "top_n", "return_documents"})


def pair_digests(
    pairs: Pairs, *, secret: bytes, tenant: str, generation: int, fingerprint: Fingerprint, fields: Mapping[str, Any]
) -> list[bytes]:
    """One digest of 16 bytes per pair.

    Args:
        pairs: Distinct or not; equal pairs get equal digests.
        secret: At most `SECRET_BYTES`.
        tenant: Whose pairs they are; tenants never share a digest.
        generation: Of the model's cache; another one knows nothing of earlier ones.
        fingerprint: Of the model: the scores depend on it beside the texts.
        fields: As they are sent to the worker.
    """
    scoring = {name: value for name, value in fields.items() if name not in _NOT_SCORING}
    start = _start(secret, tenant, generation, fingerprint).copy()
    _add(start, [orjson.dumps(scoring, option=orjson.OPT_SORT_KEYS).decode()])
    if len(pairs.queries) > 1:
        each = zip(pairs.queries, pairs.documents, strict=True)
        return [digest for query, document in each for digest in _finished(_with(start, query), [document])]
    return _finished(_with(start, pairs.queries[0]), pairs.documents)


@lru_cache(maxsize=1000)
def _start(secret: bytes, tenant: str, generation: int, fingerprint: Fingerprint) -> "_Hash":
    """The beginning of digests that differ only in what a client sends; to be copied, not to be added to.

    None of that may be among the arguments: they stay in memory, a thousand of them.
    """
    start = sha256(secret.ljust(SECRET_BYTES, b"\0"))
    # Every part but the document, which is the last, stands behind its length: no two pairs hash the same bytes.
    _add(start, [tenant, str(generation), *map(str, fingerprint)])
    return start


def _with(start: "_Hash", query: Side) -> "_Hash":
    started = start.copy()
    _add(started, [query])
    return started


def _add(digest: "_Hash", parts: Iterable[Side]) -> None:
    for part in parts:
        encoded = _encoded(part)
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)


def _encoded(side: Side) -> bytes:
    """The bytes of a text, or those that stand for content: it begins with one that no text has."""
    if isinstance(side, str):
        return side.encode("utf-8", _HALF_PAIRS)
    parts = [
        (b"t", part.encode("utf-8", _HALF_PAIRS)) if isinstance(part, str) else (b"i", part.digest)
        for part in side.parts
    ]
    return b"\xff" + b"".join(kind + len(encoded).to_bytes(8, "little") + encoded for kind, encoded in parts)


def _finished(started: "_Hash", documents: Iterable[Side]) -> list[bytes]:
    copy, digests = started.copy, []
    for document in documents:
        digest = copy()
        # Not by a call of `_encoded` for each, which takes a fifth as long as all of this.
        digest.update(document.encode("utf-8", _HALF_PAIRS) if isinstance(document, str) else _encoded(document))
        digests.append(digest.digest()[:DIGEST_BYTES])
    return digests
