"""The reload at SIGHUP: keys, certificates and the log level are read again while requests go on."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import structlog

from app.api.auth import Keys
from app.settings import Settings, SettingsError
from app.settings.certificates import Certificates
from app.telemetry import log

# The settings that can change while the gateway runs.
_LIVE = frozenset({"admin_key", "api_keys", "api_keys_file", "log_format", "log_level"})


@dataclass(frozen=True, slots=True, eq=False)
class Reload:
    """The reload of settings. With a mistake in them it is logged, and everything stays as it was.

    Args:
        read: Gives the settings as they are written now, or raises SettingsError.
        settings: As they were read at the start.
        keys: Who may call.
        admin_keys: Who may operate the gateway.
        certificates: For listening and towards workers.
    """

    read: Callable[[], Settings]
    settings: Settings
    _: KW_ONLY
    keys: Keys
    admin_keys: Keys
    certificates: Certificates

    def __call__(self) -> None:
        """Apply the settings as they are written now."""
        logger = structlog.get_logger()
        try:
            settings = self.read()
            self._take_over(settings)
        except SettingsError as exc:
            logger.warning(
                "reload_refused", reason=str(exc), advice="correct it and send SIGHUP again; nothing changed"
            )
            return
        waiting = [name for name in _changed(self.settings, settings) if name not in _LIVE]
        logger.info("reloaded", **({"needs_restart": waiting} if waiting else {}))

    def _take_over(self, settings: Settings) -> None:
        secrets = settings.keys
        if not secrets and not self.keys.is_open:
            raise SettingsError("no API key is left, which would open the gateway to everybody: restart it for that")
        if not settings.admin_keys and not self.admin_keys.is_open:
            raise SettingsError("no admin key is left, which changes from where /admin opens: restart it for that")
        self.certificates.reload()
        self.keys.replace(secrets)
        self.admin_keys.replace(settings.admin_keys)
        log.configure(style=settings.log_format, level=settings.log_level)


def _changed(before: Settings, after: Settings) -> list[str]:
    return [name for name in Settings.model_fields if getattr(before, name) != getattr(after, name)]
