"""API keys, sent as Bearer tokens or Basic passwords."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

from app.errors import Unauthorized

ANONYMOUS = "anonymous"


class Keys:
    """The API keys that may call, which can be replaced at run time.

    Args:
        secrets: Secrets by key name; empty leaves the gateway open to everybody.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self.replace(secrets)

    @property
    def is_open(self) -> bool:
        """True without keys: everybody may call."""
        return not self._names

    @property
    def are_several(self) -> bool:
        """True with more than one key, which then share what is limited."""
        return len(self._names) > 1

    def replace(self, secrets: Mapping[str, str]) -> None:
        """Replace the keys, from the next request on."""
        self._names = {name: _digest(secret) for name, secret in secrets.items()}

    def name_of(self, authorization: str | None) -> str:
        """The name of the key in an `Authorization` header; `anonymous` when no keys are set.

        Raises:
            Unauthorized: no key, or none that is known.
        """
        if not self._names:
            return ANONYMOUS
        given = _digest(_secret(authorization or ""))
        # All keys are compared, and by digest, so that the time taken reveals nothing about them.
        matches = [name for name, known in self._names.items() if hmac.compare_digest(known, given)]
        if not matches:
            problem = "This API key is wrong: send a valid one" if authorization else "An API key is needed: send it"
            raise Unauthorized(f"{problem} as Authorization: Bearer KEY, or as the Basic password.")
        return matches[0]


def _secret(authorization: str) -> str:
    scheme, _, credentials = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return credentials.strip()
        case "basic":
            try:
                return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return ""
        case _:
            return ""


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()
