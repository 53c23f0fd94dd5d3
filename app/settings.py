"""Every setting: `RERANK_` environment over a YAML file, checked once, frozen."""

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from app.policy.truncate import Truncation
from app.work import LongDocuments

PREFIX = "RERANK_"
# Milvus gives one batch 30 s, its three tries included.
_MILVUS_PATIENCE_S = 30


class SettingsError(Exception):
    """The settings can't be used; the message names each key and the fix."""


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _keys_by_name(value: object) -> object:
    return parse_keys(_split_commas(value)) if isinstance(value, str) else value


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]
ApiKeys = Annotated[dict[str, SecretStr], NoDecode, BeforeValidator(_keys_by_name)]


class ModelSettings(BaseModel):
    """What the gateway can't read from a worker about one model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    aliases: tuple[str, ...] = Field(default=(), description="other names clients may use for the model")
    truncation: Truncation = Field(
        default="pair",
        description="what is cut when too long: pair for cross-encoders, document for models behind a chat template",
    )
    template_tokens: int = Field(
        default=160, ge=0, description="tokens of the chat template around both texts, its instruction included"
    )
    listwise: bool = Field(
        default=False, description="the model compares documents with each other: never split, never deduplicated"
    )
    revision: str = Field(
        default="", description="part of the fingerprint: change it when the weights change under one name"
    )


class Settings(BaseSettings):
    """The gateway's settings. Sizes are bytes, times seconds, as the names say."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: int = Field(default=8080, ge=0, le=65535, description="port to listen on")
    keep_alive_s: int = Field(
        default=120, ge=1, description="how long an idle client connection is kept; Milvus reuses one for up to 90 s"
    )

    workers: CommaSeparated = Field(
        default=(), description="comma-separated URLs of vLLM servers; none means the embedded lexical:// worker"
    )
    worker_api_key: SecretStr | None = Field(default=None, description="the workers' --api-key")
    worker_max_calls: int = Field(default=4, ge=1, le=1024, description="calls in flight per worker")
    worker_connect_timeout_s: float = Field(default=2.0, gt=0, description="time for a connection to a worker")
    identify_interval_s: float = Field(
        default=10.0, gt=0, description="how often a usable worker is asked for its models and version"
    )

    models: dict[str, ModelSettings] = Field(
        default={}, description="per-model settings, by the name workers serve it under"
    )
    default_model: str | None = Field(
        default=None, description="the model of requests that name none, when there are several"
    )
    forward_fields: CommaSeparated = Field(
        default=(), description="further request fields that go to the worker, such as chat_template_kwargs or priority"
    )

    max_batch: int = Field(default=64, ge=1, le=100_000, description="documents per worker call at most")
    max_batch_tokens: int = Field(default=32768, ge=1, description="estimated tokens per worker call at most")
    min_batch: int = Field(
        default=16, ge=1, description="a list is spread over idle workers only in pieces of at least this"
    )
    long_documents: LongDocuments = Field(
        default="truncate", description="documents too long for the model: truncate, or error"
    )
    max_documents: int = Field(default=20_000, ge=1, description="documents per request at most")
    max_document_chars: int = Field(default=1_000_000, ge=1, description="characters per document or query at most")

    deadline_s: float = Field(
        default=25.0, gt=0, description="time for one request, retries included; Milvus gives up at 30"
    )
    no_worker_wait_s: float = Field(
        default=5.0, ge=0, description="how long a request waits for a usable worker before a 503"
    )
    max_attempts: int = Field(default=4, ge=1, le=100, description="tries per chunk at most")

    max_body_bytes: int = Field(default=32 * 2**20, ge=1, description="bytes per request body at most")
    max_bytes_in_flight: int = Field(
        default=512 * 2**20, ge=1, description="bytes of all request bodies held at once at most"
    )
    body_timeout_s: float = Field(default=10.0, gt=0, description="time for a request body to arrive")

    api_keys: ApiKeys = Field(
        default={}, description="name:secret pairs, comma-separated; none leaves the gateway open"
    )
    api_keys_file: Path | None = Field(
        default=None, description="a file with one name:secret per line; # starts a comment"
    )

    drain_s: float = Field(default=5.0, ge=0, description="after SIGTERM: how long new requests are still accepted")
    log_format: Literal["json", "console"] = Field(default="json", description="json, or console for people")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="lines below it are dropped"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment over what the constructor was given, which is what the file says."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for problem in _contradictions(self):
            raise ValueError(problem)
        return self

    @property
    def keys(self) -> Mapping[str, str]:
        """Secrets by key name, from the setting and the file. Empty means open."""
        from_file = parse_keys(_lines(self.api_keys_file)) if self.api_keys_file else {}
        return {name: secret.get_secret_value() for name, secret in self.api_keys.items()} | from_file

    def for_model(self, name: str) -> ModelSettings:
        """The settings of the model that workers serve as `name`; defaults when none are written down."""
        return self.models.get(name) or ModelSettings()


def load(config: Path | None = None) -> Settings:
    """Settings from the environment over `config`.

    Raises:
        SettingsError: names every key at fault, and what it takes.
    """
    written = _read_yaml(config) if config else {}
    try:
        settings = Settings(**written)
        settings.keys  # noqa: B018 - reads the key file now rather than at the first request
    except ValidationError as exc:
        raise SettingsError("\n".join(_explain(error, config) for error in exc.errors())) from exc
    except (OSError, ValueError) as exc:
        raise SettingsError(f"{PREFIX}API_KEYS_FILE: {exc}") from exc
    return settings


def warnings_about(settings: Settings, environ: Mapping[str, str] = os.environ) -> list[str]:
    """What is legal but probably not meant: unknown `RERANK_` variables, time limits that Milvus can't wait for."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {f"{PREFIX}CONFIG"}
    found = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            found.append(f"{name} is no setting" + (f"; did you mean {near[0]}?" if near else ""))
    if settings.deadline_s >= _MILVUS_PATIENCE_S:
        found.append(f"{PREFIX}DEADLINE_S is {settings.deadline_s:g}, but Milvus gives up after {_MILVUS_PATIENCE_S} s")
    return found


def parse_keys(lines: object) -> dict[str, str]:
    """`name:secret` lines as secrets by name.

    Raises:
        ValueError: a line has no name or no secret, or a name stands twice. The message never shows a secret.
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


def _lines(path: Path) -> list[str]:
    stripped = (line.strip() for line in path.read_text().splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def _contradictions(settings: Settings) -> Iterable[str]:
    """What each setting allows by itself, but not together."""
    if settings.min_batch > settings.max_batch:
        yield f"min_batch is {settings.min_batch}, above max_batch {settings.max_batch}: lower min_batch"
    if settings.max_body_bytes > settings.max_bytes_in_flight:
        yield "max_body_bytes is above max_bytes_in_flight: no body of that size could ever be read"
    if settings.no_worker_wait_s >= settings.deadline_s:
        yield "no_worker_wait_s must be below deadline_s, or a request without a worker ends as a time-out"
    for url in settings.workers:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https", "lexical"} or (parts.scheme != "lexical" and not parts.hostname):
            yield f"workers: {parts.hostname or url!r} is no URL like http://gpu-1:8000"
    names = [name for model, own in settings.models.items() for name in (model, *own.aliases)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"models: the name {name} stands for two models"


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        written = yaml.safe_load(path.read_text())
    except OSError as exc:
        raise SettingsError(f"{path}: {exc.strerror}: give --config a file that can be read") from exc
    except yaml.YAMLError as exc:
        raise SettingsError(f"{path} is not YAML: {exc}") from exc
    if written is None:
        return {}
    if not isinstance(written, dict) or not all(isinstance(key, str) for key in written):
        raise SettingsError(f"{path} must hold settings as `key: value` lines, such as `max_batch: 64`")
    return written


def _explain(error: Any, config: Path | None) -> str:
    """One line a person can act on: which key, what is wrong with it, what it takes."""
    key = ".".join(str(part) for part in error["loc"])
    top = str(error["loc"][0]) if error["loc"] else ""
    problem = error["msg"].removeprefix("Value error, ")
    if not top:
        return f"settings don't fit together: {problem}"
    name = f"{PREFIX}{key.upper()}" + (f" (or {key} in {config})" if config else "")
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, Settings.model_fields, n=1)
        return f"{key} in {config} is no setting" + (f"; did you mean {near[0]}?" if near else "")
    if str(error["input"]).startswith("tcp://"):
        return (
            f"{name} was set by Kubernetes for a Service called rerank: set enableServiceLinks: false in the pod, "
            "or give the Service another name"
        )
    known = Settings.model_fields.get(top)
    return f"{name}: {problem}" + (f". It takes: {known.description}" if known else "")
