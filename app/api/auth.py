"""Who calls: API keys as Bearer tokens or Basic passwords."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

from app.errors import Unauthorized

ANONYMOUS = "anonymous"


class Keys:
    """The API keys.

    Args:
        secrets: Secrets by key name; empty leaves the gateway open to everybody.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self.replace(secrets)

    @property
    def is_open(self) -> bool:
        """Whether there are no keys, so that everybody may call."""
        return not self._names

    @property
    def are_several(self) -> bool:
        """Whether there is more than one, so that each has others beside it."""
        return len(self._names) > 1

    def replace(self, secrets: Mapping[str, str]) -> None:
        """From now on these are the keys."""
        self._names = {name: _digest(secret) for name, secret in secrets.items()}

    def name_of(self, authorization: str | None) -> str:
        """The name of the key in an `Authorization` header; `anonymous` when no keys are set.

        Raises:
            Unauthorized: no key, or none that is known.
        """
        if not self._names:
            return ANONYMOUS
        given = _digest(_secret(authorization or ""))
        # All keys are compared, and by digest: the time taken says nothing about any of them.
        matches = [name for name, known in self._names.items() if hmac.compare_digest(known, given)]
        if not matches:
            raise Unauthorized(
                "An API key is needed: send it as `Authorization: Bearer KEY`, or as the Basic password."
            )
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
