"""TLS contexts for listening and for calling workers."""

import ssl
from pathlib import Path
from typing import Any

from app.settings import Settings, SettingsError


class Certificates:
    """The TLS contexts. `reload` changes them in place; open connections keep what they began with.

    Args:
        settings: Name the files.

    Raises:
        SettingsError: a file can't be read, or holds something else.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.listening = _listening(settings)
        self.towards_workers = _towards_workers(settings)

    def reload(self) -> None:
        """Read the files again. New connections use what they hold now.

        A certificate authority that is no longer in its file is trusted until the next start: OpenSSL can't forget one.

        Raises:
            SettingsError: as at the start; nothing has changed then.
        """
        # First into contexts of their own, so that a bad file leaves the good ones as they are.
        _listening(self._settings)
        _towards_workers(self._settings)
        if self.listening:
            _fill_listening(self.listening, self._settings)
        if self.towards_workers:
            _fill_towards_workers(self.towards_workers, self._settings)


def default_context(purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH, **trusted: Any) -> ssl.SSLContext:
    """A TLS context that verifies the other side and speaks TLS 1.2 or later.

    Python leaves that to OpenSSL's configuration where it was built so, as Debian's is.

    Args:
        purpose: SERVER_AUTH for calls to servers, CLIENT_AUTH for listening.
        trusted: `cafile`, `capath` or `cadata` of `ssl.create_default_context`; without them the system's authorities.
    """
    context = ssl.create_default_context(purpose, **trusted)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _listening(settings: Settings) -> ssl.SSLContext | None:
    """The context for listening; None without a certificate."""
    if settings.tls_cert_file is None:
        return None
    context = default_context(ssl.Purpose.CLIENT_AUTH)
    if settings.tls_client_ca_file:
        context.verify_mode = ssl.CERT_REQUIRED
    _fill_listening(context, settings)
    return context


def _fill_listening(context: ssl.SSLContext, settings: Settings) -> None:
    _load_chain(context, settings.tls_cert_file, settings.tls_key_file, "tls_cert_file and tls_key_file")
    _load_authorities(context, settings.tls_client_ca_file, "tls_client_ca_file")


def _towards_workers(settings: Settings) -> ssl.SSLContext | None:
    """The context for calling https workers; None when no setting asks for one of its own."""
    if settings.worker_ca_file is None and settings.worker_cert_file is None:
        return None
    context = default_context()
    _fill_towards_workers(context, settings)
    return context


def _fill_towards_workers(context: ssl.SSLContext, settings: Settings) -> None:
    _load_chain(context, settings.worker_cert_file, settings.worker_key_file, "worker_cert_file and worker_key_file")
    _load_authorities(context, settings.worker_ca_file, "worker_ca_file")


def _load_chain(context: ssl.SSLContext, certificate: Path | None, key: Path | None, names: str) -> None:
    if certificate is None:
        return
    try:
        # Without a password function OpenSSL would ask on the terminal for that of an encrypted key.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as exc:
        raise SettingsError(
            f"{names}: {_reason(exc)}: name PEM files that belong together, the key unencrypted"
        ) from exc


def _load_authorities(context: ssl.SSLContext, path: Path | None, name: str) -> None:
    if path is None:
        return
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError) as exc:
        raise SettingsError(f"{name}: {path}: {_reason(exc)}: name a PEM file with certificates") from exc


def _reason(exc: Exception) -> str:
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
