"""Images, as small as they can be: those that are whole, and those that only begin like one."""

import base64
import struct
import zlib

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def png(width: int = 2, height: int = 2, *, shade: int = 0, comment: bytes = b"") -> bytes:
    """A whole PNG image of one shade of grey; two with other comments look alike."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes([shade]) * width) * height)
    chunks = ((b"IHDR", header), (b"tEXt", b"Comment\0" + comment), (b"IDAT", pixels), (b"IEND", b""))
    return PNG_MAGIC + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def png_head(width: int, height: int) -> bytes:
    """The beginning of a PNG image that says it is this large."""
    return png()[:16] + struct.pack(">II", width, height) + png()[24:]


def gif(width: int, height: int) -> bytes:
    """The beginning of a GIF image."""
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0)


def jpeg(width: int, height: int, *, before: bytes = b"") -> bytes:
    """A JPEG image up to its first scan; `before` stands before its frame."""
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0"
    return b"\xff\xd8" + segment(0xE0, b"JFIF\0") + before + frame + segment(0xDA, b"\1\1\0\0\x3f\0")


def segment(marker: int, data: bytes) -> bytes:
    """A segment of a JPEG image."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def webp(kind: bytes, width: int, height: int) -> bytes:
    """The beginning of a WebP image: extended (VP8X), lossless (VP8L) or lossy (VP8 )."""
    if kind == b"VP8X":
        chunk = b"\0\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif kind == b"VP8L":
        chunk = b"\x2f" + (width - 1 | height - 1 << 14).to_bytes(4, "little")
    else:
        chunk = b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    return b"RIFF" + struct.pack("<I", len(chunk) + 12) + b"WEBP" + kind + struct.pack("<I", len(chunk)) + chunk


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def url_of(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64_of(data)}"


def content_of(*parts: str | bytes) -> dict[str, object]:
    """A query or document in vLLM's shape: texts, and images as bytes."""
    return {
        "content": [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image_url", "image_url": {"url": url_of(part)}}
            for part in parts
        ]
    }
