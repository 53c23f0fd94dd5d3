"""The settings, checked once and frozen. `RERANK_` variables win over files of secrets, those over a YAML file."""

from app.settings.loading import CLIENT_KEY, SECRETS_DIR, load, warnings_about
from app.settings.model_settings import ModelSettings
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
