"""TLS contexts for listening and for calling workers."""

import ssl
from typing import Any, NamedTuple

from app.settings import Settings, SettingsError


class _Names(NamedTuple):
    """The names of the settings that name a context's files."""

    certificate: str
    key: str
    authorities: str


_LISTENING = _Names("tls_cert_file", "tls_key_file", "tls_client_ca_file")
_TOWARDS_WORKERS = _Names("worker_cert_file", "worker_key_file", "worker_ca_file")


class Certificates:
    """The TLS contexts. `reload` changes them in place; open connections keep what they began with.

    Args:
        settings: Name the files.

    Attributes:
        listening: None without a certificate.
        towards_workers: None when no setting asks for one of its own.

    Raises:
        SettingsError: a file can't be read, or holds something else.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.listening = self.towards_workers = None
        if settings.tls_cert_file:
            self.listening = default_context(ssl.Purpose.CLIENT_AUTH)
            if settings.tls_client_ca_file:
                self.listening.verify_mode = ssl.CERT_REQUIRED
        if settings.worker_ca_file or settings.worker_cert_file:
            self.towards_workers = default_context()
        self._load()

    def reload(self) -> None:
        """Read the files again. New connections use what they hold now.

        A certificate authority that is no longer in its file is trusted until the next start: OpenSSL can't forget one.

        Raises:
            SettingsError: as at the start; nothing has changed then.
        """
        # First into contexts of their own, so that a bad file leaves the good ones as they are.
        Certificates(self._settings)
        self._load()

    def _load(self) -> None:
        if self.listening:
            _load(self.listening, self._settings, _LISTENING)
        if self.towards_workers:
            _load(self.towards_workers, self._settings, _TOWARDS_WORKERS)


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


def _load(context: ssl.SSLContext, settings: Settings, names: _Names) -> None:
    """Load the files that settings of these names say, as far as they say any, into the context."""
    certificate, key, authorities = (getattr(settings, name) for name in names)
    try:
        if certificate:
            # Without a password function OpenSSL would ask on the terminal for that of an encrypted key.
            context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as exc:
        raise SettingsError(
            f"{names.certificate} and {names.key}: {_reason(exc)}: name PEM files that belong together, the key "
            "unencrypted"
        ) from exc
    try:
        if authorities:
            context.load_verify_locations(authorities)
    except (OSError, ValueError) as exc:
        raise SettingsError(
            f"{names.authorities}: {authorities}: {_reason(exc)}: name a PEM file with certificates"
        ) from exc


def _reason(exc: Exception) -> str:
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
