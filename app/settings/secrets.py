"""Secrets read from files: API keys, and the secret that keys the cache."""

from collections.abc import Iterable
from pathlib import Path

PREFIX = "RERANK_"
_SHORTEST_SECRET_BYTES = 16


class SettingsError(Exception):
    """The settings can't be used; the message names each key and the fix."""


def parse_keys(lines: object) -> dict[str, str]:
    """Secrets by name, from `name:secret` lines.

    Raises:
        ValueError: a line has no name or no secret, or two have the same name. The message never shows a secret.
    """
    keys: dict[str, str] = {}
    for number, line in enumerate(lines if isinstance(lines, Iterable) else (), start=1):
        name, _, secret = str(line).partition(":")
        if not name.strip() or not secret.strip():
            raise ValueError(f"key {number} is not of the form name:secret")
        if name.strip() in keys:
            raise ValueError(f"the name {name.strip()} stands twice")
        keys[name.strip()] = secret.strip()
    return keys


def read_keys(path: Path) -> dict[str, str]:
    """Secrets by key name, from a file with one `name:secret` per line.

    Raises:
        SettingsError: the file can't be read, holds no key, or a line isn't `name:secret`.
    """
    try:
        keys = parse_keys(_lines(path))
    except OSError as exc:
        raise SettingsError(f"{PREFIX}API_KEYS_FILE: {path}: {exc.strerror}: name a file that can be read") from exc
    except ValueError as exc:
        raise SettingsError(f"{PREFIX}API_KEYS_FILE: {path}: {exc}: write one name:secret per line") from exc
    if not keys:
        raise SettingsError(f"{PREFIX}API_KEYS_FILE: {path} holds no key: write one name:secret per line")
    return keys


def read_secret(path: Path) -> bytes:
    """The secret that a file holds.

    Raises:
        SettingsError: the file can't be read, or holds fewer than 16 bytes.
    """
    try:
        secret = path.read_bytes().strip()
    except OSError as exc:
        message = f"{PREFIX}CACHE_SECRET_FILE: {path}: {exc.strerror}: name a file that can be read"
        raise SettingsError(message) from exc
    if len(secret) < _SHORTEST_SECRET_BYTES:
        message = f"{path} holds {len(secret)} bytes: write at least {_SHORTEST_SECRET_BYTES} random ones"
        raise SettingsError(f"{PREFIX}CACHE_SECRET_FILE: {message}, as `openssl rand -hex 32` gives")
    return secret


def _lines(path: Path) -> list[str]:
    stripped = (line.strip() for line in path.read_text().splitlines())
    return [line for line in stripped if line and not line.startswith("#")]
