"""Every setting: `RERANK_` environment over files of secrets over a YAML file, checked once, frozen."""

from app.settings.fields import ModelSettings
from app.settings.loading import CLIENT_KEY, SECRETS_DIR, load, warnings_about
from app.settings.secrets import PREFIX, SettingsError, parse_keys
from app.settings.validation import Settings

__all__ = [
    "CLIENT_KEY",
    "PREFIX",
    "SECRETS_DIR",
    "ModelSettings",
    "Settings",
    "SettingsError",
    "load",
    "parse_keys",
    "warnings_about",
]
