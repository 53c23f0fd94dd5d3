"""Settings loaded from environment and files, with an explanation of each mistake in them."""

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import SettingsError as UnreadableVariable

from app.settings.model_settings import ModelSettings
from app.settings.secrets import PREFIX, SettingsError
from app.settings.validation import Settings

# A directory with one file per secret, named like its variable in small letters, as Docker and Kubernetes mount them.
SECRETS_DIR = f"{PREFIX}SECRETS_DIR"
# The key that the doctor sends as a client does. Whoever serves with it meant API_KEYS, so it is no known setting.
CLIENT_KEY = f"{PREFIX}API_KEY"
# Milvus gives one batch 30 s, its three tries included.
_MILVUS_TIMEOUT_S = 30
_LONGER = "unless its timeout_ms or function.model.requestTimeout (3.0) is longer"
# Plain words for users where pydantic's are for programmers.
_PLAIN_WORDS = {
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "too_short": "is empty",
}


def load(config: Path | None = None) -> Settings:
    """Settings from the environment over files of secrets over `config`.

    Raises:
        SettingsError: names every wrong key, and what it takes.
    """
    written = _read_yaml(config) if config else {}
    variables = {name: value for name, value in os.environ.items() if name.upper().startswith(PREFIX)}
    _check_text({**variables, str(config): written})
    secrets_dir = _secrets_dir(os.environ.get(SECRETS_DIR))
    try:
        settings = Settings(_secrets_dir=secrets_dir, **written)
    except ValidationError as exc:
        raise SettingsError("\n".join(_explain(error, config) for error in exc.errors())) from None
    except UnreadableVariable as exc:
        # `models` is the only setting that is read as JSON; what can't be read may not be shown.
        raise SettingsError(f"{PREFIX}MODELS is not JSON. It takes: {_description_of('models')}") from exc
    # The files are read now rather than at the first request.
    settings.keys  # noqa: B018
    settings.cache_secret  # noqa: B018
    return settings


def warnings_about(settings: Settings, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Warnings about legal but suspicious settings: unknown `RERANK_` variables, and time limits beyond Milvus's."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {f"{PREFIX}CONFIG", SECRETS_DIR}
    unknown = [name for name in sorted(environ) if name.startswith(PREFIX) and name not in known]
    found = [f"{name} is no setting{_nearest(name, known, prefix=PREFIX)}" for name in unknown]
    if settings.deadline_s >= _MILVUS_TIMEOUT_S:
        found.append(
            f"{PREFIX}DEADLINE_S is {settings.deadline_s:g}, but Milvus gives up after {_MILVUS_TIMEOUT_S} s {_LONGER}"
        )
    return found


def _check_text(values: Mapping[str, object]) -> None:
    """Raise SettingsError, with its name, for a value that holds half a character, as bytes do that aren't UTF-8."""
    for name, value in values.items():
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            raise SettingsError(
                f"{name} is not text in UTF-8: write it in a terminal or editor that is set to UTF-8"
            ) from None


def _secrets_dir(path: str | None) -> Path | None:
    if path and not Path(path).is_dir():
        raise SettingsError(
            f"{SECRETS_DIR}: {path} is no directory: name one that holds files like rerank_worker_api_key"
        )
    return Path(path) if path else None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        written = yaml.safe_load(path.read_text())
    except OSError as exc:
        raise SettingsError(f"{path}: {exc.strerror}: give --config a file that can be read") from exc
    except yaml.MarkedYAMLError as exc:
        # The parser's own text quotes the line, and a secret may stand there.
        line = exc.problem_mark.line + 1 if exc.problem_mark else 1
        raise SettingsError(f"{path} is not YAML in line {line}: quote values with special characters") from None
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path} is not YAML: it must be text in UTF-8") from exc
    if written is None:
        return {}
    if not isinstance(written, dict) or not all(isinstance(key, str) for key in written):
        raise SettingsError(f"{path} must hold settings as `key: value` lines, such as `max_batch: 64`")
    return written


def _explain(error: Any, config: Path | None) -> str:
    """The message for one mistake: its key, what is wrong, and what the key takes."""
    steps = [str(step) for step in error["loc"]]
    problem = _PLAIN_WORDS.get(error["type"], error["msg"].removeprefix("Value error, "))
    if not steps:
        return f"settings don't fit together: {problem}"
    key, variable = ".".join(steps), PREFIX + steps[0].upper()
    if error["type"] == "extra_forbidden":
        known = ModelSettings.model_fields if len(steps) > 1 else Settings.model_fields
        return f"{key} in {config or variable} is no setting{_nearest(steps[-1], known)}"
    name = variable + (f" (or {key} in {config})" if config else f" ({key})" if len(steps) > 1 else "")
    if str(error["input"]).startswith("tcp://"):
        return (
            f"{name} was set by Kubernetes for a Service called rerank: set enableServiceLinks: false in the pod, "
            "or give the Service another name"
        )
    return f"{name}: {problem}. It takes: {_description_of(*steps)}"


def _nearest(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    """A hint at the nearest known name. The prefix isn't compared: with it any two names look alike."""
    near = difflib.get_close_matches(name.removeprefix(prefix), [one.removeprefix(prefix) for one in known], n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def _description_of(top: str, *below: str) -> str:
    """The description of a setting, or of a key two steps below it: `models.<name>.<key>`."""
    part = ModelSettings.model_fields.get(below[1]) if len(below) > 1 else None
    description = (part or Settings.model_fields[top]).description or ""
    return " ".join(description.split())
