"""Types of settings' values: comma-separated lists, secrets and API keys."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from app.settings.secrets import parse_keys


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _keys_by_name(value: object) -> object:
    return parse_keys(_split_commas(value)) if isinstance(value, str) else value


def _fit_for_headers(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not (text.isascii() and text.isprintable()):
        raise ValueError("it has a character that no header can carry: only printable ASCII can be sent")
    return secret


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]
# An empty secret would let everybody in: a request without a key has an empty one.
Secret = Annotated[SecretStr, Field(min_length=1)]
SentSecret = Annotated[Secret, AfterValidator(_fit_for_headers)]
ApiKeys = Annotated[dict[str, Secret], NoDecode, BeforeValidator(_keys_by_name)]
