"""Request bodies, read within limits of size, time and memory."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic_core import from_json
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from app.api.bytes_in_flight import BytesInFlight
from app.api.request import HttpRequest
from app.errors import BadInput, SlowBody, TooLarge, WrongMediaType
from app.settings import Settings

# Parsing blocks the event loop. So many take 0.1 s at most, as keys of one object; five times as many take 1.5 s, and
# ten million objects take gigabytes.
_MOST_VALUES = 500_000
# An entry has two texts at most, its key and its value.
_MOST_QUOTES = 4 * _MOST_VALUES


class BodyReader:
    """The reader of bodies, which keeps the settings' limits and reserves memory for each body under its API key.

    Args:
        settings: Limits of size and time.
        bytes_in_flight: Where bodies reserve their bytes.
    """

    def __init__(self, settings: Settings, bytes_in_flight: BytesInFlight) -> None:
        self._max_body_bytes = settings.max_body_bytes
        self._body_timeout_s = settings.body_timeout_s
        self._bytes_in_flight = bytes_in_flight

    def reservation(self, key: str) -> "Reservation":
        """A reservation for one request of a key, of no bytes yet."""
        return Reservation(self._bytes_in_flight, key, self._max_body_bytes)

    async def read(self, request: HttpRequest, reservation: "Reservation") -> dict[str, Any]:
        """The request's JSON object. Its bytes are reserved as they come, and freed: decoded they take as many again.

        Raises:
            WrongMediaType, TooLarge, Overloaded, SlowBody, BadInput: as their names say.
            ClientDisconnect: the client left while it was sending.
        """
        _check_type(request.headers)
        reservation.check_size(_content_length(request.headers))
        if request.client_connection and request.client_connection.has_sent_all:
            return _decode(await _arrived(request.receive, reservation))
        try:
            async with asyncio.timeout(self._body_timeout_s):
                body = await _arrived(request.receive, reservation)
        except TimeoutError:
            message = f"The body didn't arrive in {self._body_timeout_s:g} s: send it faster, or send less."
            raise SlowBody(message) from None
        return _decode(body)


@dataclass(slots=True, eq=False)
class Reservation:
    """The bytes reserved for one request's body, which are given back at the end of the block."""

    bytes_in_flight: BytesInFlight
    key: str
    max_body_bytes: int
    reserved_bytes: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes_in_flight.give_back(self.key, self.reserved_bytes)

    def check_size(self, body_bytes: int) -> None:
        """Check the size of a body, announced or real, without reserving it.

        Raises:
            TooLarge: it is above `max_body_bytes`.
        """
        if body_bytes > self.max_body_bytes:
            message = f"The body has more than {self.max_body_bytes} bytes: send fewer documents per request."
            raise TooLarge(message)

    def reserve(self, body_bytes: int) -> None:
        """Raise the reservation to `body_bytes`, the bytes that have come so far.

        Raises:
            TooLarge: the body is above `max_body_bytes`.
            Overloaded: all bodies together are above what they may hold.
        """
        self.check_size(body_bytes)
        self.bytes_in_flight.take(self.key, body_bytes - self.reserved_bytes, own_bytes=self.reserved_bytes)
        self.reserved_bytes = body_bytes


def media_type_of(headers: Mapping[str, str], *, unsaid: str = "") -> str:
    """The media type in Content-Type, in small letters and without parameters; `unsaid` without that header."""
    return headers.get("content-type", unsaid).partition(";")[0].strip().lower()


def _check_type(headers: Mapping[str, str]) -> None:
    # A browser names the origin of a POST; without a type, a page of another site could send it without a preflight.
    unsaid = "" if "origin" in headers else "application/json"
    if media_type_of(headers, unsaid=unsaid) != "application/json":
        raise WrongMediaType("The body must be JSON: send the header Content-Type: application/json.")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise WrongMediaType("Compressed bodies aren't taken: send the JSON as it is.")


def _content_length(headers: Mapping[str, str]) -> int:
    length = headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() else 0


async def _arrived(receive: Receive, reservation: Reservation) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        reservation.reserve(size)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _decode(body: bytes) -> dict[str, Any]:
    # A shorter body can't have too many.
    if len(body) > _MOST_VALUES and _has_too_many_values(body):
        raise BadInput(f"The body has more than {_MOST_VALUES} values: send fewer documents per request.")
    try:
        # Refuses NaN, lone surrogates, invalid UTF-8 and nesting deeper than 200; faster than orjson on long strings.
        decoded = from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as exc:
        # The parser's message has the position, and never quotes the body.
        raise BadInput(f"The body is not valid JSON: {exc}.") from None
    if not isinstance(decoded, dict):
        raise BadInput('The body must be a JSON object such as {"query": "...", "documents": ["..."]}.')
    return decoded


def _has_too_many_values(body: bytes) -> bool:
    """True if the body has more lists, objects and entries of them than allowed; characters in strings don't count.

    Takes about as long as counting one character in the whole body, and reads as far as a parser would before an error.
    """
    # Without escapes every quote begins or ends a string, so every second piece is outside of strings.
    pieces = body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"', _MOST_QUOTES)
    if len(pieces) > _MOST_QUOTES:
        return True
    outside = b"".join(pieces[::2])
    return outside.count(b",") + outside.count(b"[") + outside.count(b"{") > _MOST_VALUES
