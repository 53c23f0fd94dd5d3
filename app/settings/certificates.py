"""Certificates: the gateway's own, and those it shows to workers and checks theirs by."""

import ssl
from pathlib import Path
from typing import Any

from app.settings import Settings, SettingsError


class Certificates:
    """The TLS contexts, which `reload` changes in place: connections that stand are not touched.

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
        """Read the files again, for all connections from now on.

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
    """A context that checks whom it speaks with, and speaks TLS 1.2 or later.

    Python leaves that to OpenSSL's configuration where it was built so, as Debian's is.

    Args:
        purpose: Whom it authenticates.
        trusted: As for `ssl.create_default_context`; what the system trusts without it.
    """
    context = ssl.create_default_context(purpose, **trusted)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _listening(settings: Settings) -> ssl.SSLContext | None:
    """What clients are met with; None without a certificate."""
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
    """How https workers are met; None when what the system trusts will do."""
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
