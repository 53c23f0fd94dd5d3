"""Go's encoding/json, as far as Milvus uses it: what it writes, and how strictly it reads."""

import json
import re
import struct
from collections.abc import Mapping
from typing import Any

Text = str | bytes
# What a Go struct is made of: a field's name and shape, a list's item, or a kind.
Shape = Mapping[str, "Shape"] | list["Shape"] | str

_ESCAPED = {"<": r"\u003c", ">": r"\u003e", "&": r"\u0026", "\u2028": r"\u2028", "\u2029": r"\u2029"}
_ZERO = {"int": 0, "float32": 0.0, "string": "", "bool": False}


class Unmarshal(Exception):
    """Go would return this as an error."""


class _Number(str):
    """A number as it was written: Go tells 7 from 7.0."""

    __slots__ = ()


def marshal(value: Mapping[str, object]) -> bytes:
    """`value` as Go writes a map: sorted keys, `<>&` escaped, bytes that are no UTF-8 as an escaped U+FFFD."""
    text = json.dumps(_strings(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    escaped = re.sub("[<>&\u2028\u2029]", lambda match: _ESCAPED[match[0]], text)
    return re.sub("[\udc80-\udcff]", r"\\ufffd", escaped).encode()


def unmarshal(body: bytes, shape: Shape) -> Any:
    """What Go reads from `body` into `shape`; missing fields and null become zero values.

    Raises:
        Unmarshal: `body` is no JSON, or has a value of another type than `shape`.
    """
    try:
        decoded = json.loads(
            body.decode(errors="replace"),
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_refuse,
            object_pairs_hook=_fields,
        )
    except json.JSONDecodeError as exc:
        raise Unmarshal(f"invalid character at offset {exc.pos}: {exc.msg}") from exc
    return _into(shape, decoded)


def float32(value: float) -> float:
    """The nearest float32; OverflowError when there is none."""
    (nearest,) = struct.unpack("f", struct.pack("f", value))
    return float(nearest)


def _strings(value: object) -> object:
    """Go's strings are bytes; those that are no UTF-8 wait as lone surrogates, one each, for their escape."""
    match value:
        case bytes():
            return value.decode(errors="surrogateescape")
        case Mapping():
            return {key: _strings(item) for key, item in value.items()}
        case list():
            return [_strings(item) for item in value]
        case _:
            return value


def _refuse(constant: str) -> None:
    raise Unmarshal(f"invalid character '{constant[0]}' looking for beginning of value")


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Go finds a struct's fields whatever the case of the keys; the last of several wins."""
    return {key.lower(): value for key, value in pairs}


def _into(shape: Shape, value: Any) -> Any:
    match shape, value:
        case Mapping(), dict() | None:
            return {name: _into(inner, (value or {}).get(name)) for name, inner in shape.items()}
        case [inner], list() | None:
            return [_into(inner, item) for item in value or []]
        case str(), None:
            # A pointer stays nil, and so shows what was missing.
            return None if shape.startswith("*") else _ZERO[shape]
        case str(), _:
            return _scalar(shape.removeprefix("*"), value)
    raise Unmarshal(f"json: cannot unmarshal {type(value).__name__} into Go value of type {shape}")


def _scalar(kind: str, value: Any) -> Any:
    number = isinstance(value, _Number)
    if kind == "int" and number and re.fullmatch(r"-?\d+", value) and -(2**63) <= int(value) < 2**63:
        return int(value)
    if kind == "float32" and number:
        return _float32(value)
    if (kind == "string" and type(value) is str) or (kind == "bool" and type(value) is bool):
        return value
    raise Unmarshal(f"json: cannot unmarshal {value if number else type(value).__name__} into Go value of type {kind}")


def _float32(number: _Number) -> float:
    try:
        nearest = float32(float(number))
    except OverflowError:
        nearest = float("inf")
    if nearest in {float("inf"), float("-inf")}:
        raise Unmarshal(f"json: cannot unmarshal number {number} into Go value of type float32")
    return nearest
