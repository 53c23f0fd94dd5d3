"""Images as clients send them: base64 in a `data:` URL or bare, or an address that workers fetch."""

import re
from binascii import Error, a2b_base64, b2a_base64
from hashlib import sha256

from app.errors import BadInput
from app.types import Image

MOST_IMAGE_BYTES = 10 * 2**20
# 8192 by 8192: an uncompressed one takes 200 MB of a worker, and its header may promise that in a hundred bytes.
MOST_PIXELS = 2**26
# Four characters of base64 stand for three bytes; so many more may be line breaks.
_MOST_CHARS = MOST_IMAGE_BYTES * 4 // 3 + 2**19
_TYPES = "PNG, JPEG, WebP or GIF"
_TYPE_NAMES = frozenset({"image/png", "image/jpeg", "image/jpg", "image/webp", "image/gif"})
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_SPACE = b" \t\r\n"

# Models see patches of 28 by 28 pixels, and shrink an image until it has no more of them than this: Qwen2-VL and its
# like by default, jina-reranker-m0 down to 768.
_PATCH_PIXELS = 28 * 28
_MOST_TOKENS = 1280

# No user, brackets, backslashes, spaces or escapes before the path: what every reader of URLs reads in the same way.
_REMOTE = re.compile(r"(https?)://([a-z0-9.-]{1,253})(?::([0-9]{1,5}))?(?:/[!-\[\]-~]*)?", re.IGNORECASE)
_MOST_URL_CHARS = 2000
_USUAL_PORTS = {"http": 80, "https": 443}
# A marker, with as many bytes of filling before it as there are.
_JPEG_MARKER = re.compile(rb"\xff+([^\xff])", re.DOTALL)
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_SCAN = 0xDA
# Segments that are looked at before the frame: a few, and more in a long file, so that many short ones cost little.
_MOST_SEGMENTS, _BYTES_PER_SEGMENT = 32, 2048


def image_of(url: str, place: str) -> Image:
    """The image of a `data:` URL, or at the address that workers fetch it from.

    Raises:
        BadInput: it is neither, or no image; `place` says where it stands.
    """
    if url[:5].lower() == "data:":
        return _image(*_data_of(url, place), place)
    address = _REMOTE.fullmatch(url) if len(url) <= _MOST_URL_CHARS else None
    if address is None:
        message = f"{place} has no image: send its url as data:image/png;base64,... or a plain https://host/path"
        raise BadInput(message, param=place)
    scheme, host, port = address[1].lower(), address[2].lower(), int(address[3] or 0)
    if port and port != _USUAL_PORTS[scheme]:
        host = f"{host}:{port}"
    return Image(url, sha256(b"url\0" + url.encode()).digest(), _MOST_TOKENS, host)


def image_of_text(text: str, place: str) -> Image:
    """The image in any of the forms Jina takes: as `image_of`, or base64 and nothing else."""
    # Neither colon nor dot stands in base64.
    if ":" in text[:10]:
        return image_of(text, place)
    return _image(*_decoded(text, place), place)


def image_of_bytes(data: bytes, place: str) -> Image:
    """The image in these bytes.

    Raises:
        BadInput: they are none, or too large a one; `place` says where it stands.
    """
    return _image(data, _encoded(data), place)


def _image(data: bytes, encoded: str, place: str) -> Image:
    """The image in these bytes, whichever type its sender thinks it has; `encoded` is their base64."""
    if len(data) > MOST_IMAGE_BYTES:
        raise _too_large(place)
    read = _read_header(data)
    if read is None or 0 in read[1:]:
        raise BadInput(f"{place} has an image that is no {_TYPES}", param=place)
    kind, width, height = read
    if width * height > MOST_PIXELS:
        message = f"{place} has an image of {width} x {height} pixels, more than {MOST_PIXELS}: shrink it"
        raise BadInput(message, param=place)
    digest = sha256(f"{kind}\0".encode())
    digest.update(data)
    return Image(
        f"data:image/{kind};base64,{encoded}", digest.digest(), min(_MOST_TOKENS, width * height // _PATCH_PIXELS + 1)
    )


def _data_of(url: str, place: str) -> tuple[bytes, str]:
    """The bytes in a `data:` URL, and their base64."""
    head, comma, data = url[5:].partition(",")
    kind, _, encoding = head.rpartition(";")
    if not comma or encoding.strip().lower() != "base64":
        raise BadInput(f"{place} has a data: URL without base64: send data:image/png;base64,...", param=place)
    if kind.partition(";")[0].strip().lower() not in _TYPE_NAMES:
        raise BadInput(f"{place} has a data: URL whose type is none of {_TYPES}: name it", param=place)
    return _decoded(data, place)


def _decoded(text: str, place: str) -> tuple[bytes, str]:
    """The bytes of base64 in any spelling, be it wrapped, for URLs or without its end; and their usual base64."""
    if len(text) > _MOST_CHARS:
        raise _too_large(place)
    try:
        data = a2b_base64(text, strict_mode=True)
        # Bits beyond the last byte may say anything.
        return data, text[: len(data) // 3 * 4] + _encoded(data[len(data) // 3 * 3 :])
    except ValueError:
        pass
    try:
        plain = text.encode("ascii").translate(_URL_SAFE, delete=_SPACE).rstrip(b"=")
        data = a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True)
    except (Error, ValueError):
        raise BadInput(f"{place} has an image that is not base64", param=place) from None
    return data, _encoded(data)


def _encoded(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


def _too_large(place: str) -> BadInput:
    return BadInput(f"{place} has an image of more than {MOST_IMAGE_BYTES} bytes: shrink it", param=place)


def _read_header(data: bytes) -> tuple[str, int, int] | None:
    """The type, width and height that an image says it has; None when it is no image."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
        return "png", int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "gif", int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _read_webp(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _read_jpeg(data)
    return None


def _read_webp(data: bytes) -> tuple[str, int, int] | None:
    """The size of a WebP image. Source: RFC 9649, sections 2.5 to 2.7, and RFC 6386, section 9.1."""
    match data[12:16]:
        case b"VP8X":
            return "webp", 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L" if data[20:21] == b"\x2f":
            sizes = int.from_bytes(data[21:25], "little")
            return "webp", 1 + (sizes & 0x3FFF), 1 + (sizes >> 14 & 0x3FFF)
        case b"VP8 " if data[23:26] == b"\x9d\x01\x2a":
            sizes = int.from_bytes(data[26:30], "little")
            return "webp", sizes & 0x3FFF, sizes >> 16 & 0x3FFF
    return None


def _read_jpeg(data: bytes) -> tuple[str, int, int] | None:
    """The size of a JPEG image, the largest that stands before its first scan. Source: ITU T.81, annex B."""
    at, width, height = 2, 0, 0
    for _ in range(_MOST_SEGMENTS + len(data) // _BYTES_PER_SEGMENT):
        marker = _JPEG_MARKER.match(data, at)
        if marker is None:
            return None
        kind, at = marker[1][0], marker.end()
        if kind == _SCAN:
            return "jpeg", width, height
        if kind in _FRAMES:
            size = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 3 : at + 5])
            width, height = max((width, height), size, key=lambda one: one[0] * one[1])
        if kind not in _WITHOUT_LENGTH:
            at += max(2, int.from_bytes(data[at : at + 2]))
    return None
