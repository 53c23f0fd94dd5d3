"""The sample of pictures: generated PNG images without captions, which not every model takes; always the same."""

from collections.abc import Sequence
from random import Random
from struct import pack
from zlib import compress, crc32

from app.api.dialects.image import image_of_bytes
from app.types import Content, Pairs

_PICTURES_PER_QUERY = 64
# Squares of one shade, so many in a row and so many pixels wide: large enough for every model, and small as PNG.
_SQUARES, _PIXELS = 8, 14


def pictures() -> list[Pairs]:
    """Two queries with 64 documents each."""
    return [
        Pairs([query], [_document(Random(f"{query}{number}")) for number in range(_PICTURES_PER_QUERY)])  # noqa: S311 - the same pictures everywhere, no secrets
        for query in ("a dark picture", "a picture with many light squares")
    ]


def _document(rng: Random) -> Content:
    # random() is the one method whose sequence no release of Python changes.
    least, span = rng.random() * 0.7, rng.random() * 0.3
    shades = [[int(255 * (least + span * rng.random())) for _ in range(_SQUARES)] for _ in range(_SQUARES)]
    return Content((image_of_bytes(_png(shades), ""),))


def _png(shades: Sequence[Sequence[int]]) -> bytes:
    """A grey PNG image of squares. Source: PNG (Third Edition), sections 5 and 11."""
    side = _SQUARES * _PIXELS
    rows = [b"\0" + b"".join(bytes([shade]) * _PIXELS for shade in row) for row in shades for _ in range(_PIXELS)]
    chunks = (
        (b"IHDR", pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)),
        (b"IDAT", compress(b"".join(rows))),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        pack(">I", len(data)) + kind + data + pack(">I", crc32(kind + data)) for kind, data in chunks
    )
