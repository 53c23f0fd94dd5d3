"""Every setting: `RERANK_` environment over a YAML file, checked once, frozen."""

import difflib
import importlib.util
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariable

from app.address import problem_with, without_password
from app.policy.truncate import Truncation
from app.work import LongDocuments

PREFIX = "RERANK_"
# A directory with one file per secret, named like its variable in small letters, as Docker and Kubernetes mount them.
SECRETS_DIR = f"{PREFIX}SECRETS_DIR"
# Milvus gives one batch 30 s, its three tries included.
_MILVUS_PATIENCE_S = 30
_SHORTEST_SECRET_BYTES = 16
# Pydantic's words for these are for programmers.
_PLAIN_WORDS = {
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "too_short": "is empty",
}
# The first for all URLs of Redis, the others for rediss://.
_REDIS_OPTIONS = ("db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
# A client that could set these would change which documents a worker scores, or how many scores it returns.
_NEVER_FORWARDED = frozenset(
    {"model", "query", "queries", "documents", "items", "text_1", "text_2", "data_1", "data_2", "top_n"}
)


class SettingsError(Exception):
    """The settings can't be used; the message names each key and the fix."""


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _keys_by_name(value: object) -> object:
    return parse_keys(_split_commas(value)) if isinstance(value, str) else value


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]
# An empty secret would let everybody in: it is what a request without a key has.
Secret = Annotated[SecretStr, Field(min_length=1)]
ApiKeys = Annotated[dict[str, Secret], NoDecode, BeforeValidator(_keys_by_name)]


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

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        env_ignore_empty=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: int = Field(default=8080, ge=1, le=65535, description="port to listen on")
    keep_alive_s: int = Field(
        default=120, ge=1, description="how long an idle client connection is kept; Milvus reuses one for up to 90 s"
    )

    tls_cert_file: Path | None = Field(
        default=None, description="a PEM file with the certificate to listen with; none listens without TLS"
    )
    tls_key_file: Path | None = Field(default=None, description="its key; none when the same file holds both")
    tls_client_ca_file: Path | None = Field(
        default=None, description="clients must show a certificate from these authorities"
    )

    workers: CommaSeparated = Field(
        default=(),
        repr=False,  # a URL may carry a password
        description=(
            "comma-separated URLs of vLLM servers, or where to find them: dns://host:port, "
            "kubernetes://namespace/service:port; none means the embedded lexical:// worker"
        ),
    )
    worker_api_key: Secret | None = Field(default=None, description="the workers' --api-key")
    worker_ca_file: Path | None = Field(
        default=None, description="authorities that certify https workers, beside those the system trusts"
    )
    worker_cert_file: Path | None = Field(default=None, description="a PEM file with the certificate shown to workers")
    worker_key_file: Path | None = Field(default=None, description="its key; none when the same file holds both")
    worker_max_calls: int = Field(default=64, ge=1, le=1024, description="calls in flight per worker at most")
    worker_min_documents: int = Field(
        default=64, ge=1, description="documents in flight per worker where its adaptive limit starts; never below it"
    )
    worker_max_documents: int = Field(default=2048, ge=1, description="documents in flight per worker at most")
    worker_connect_timeout_s: float = Field(default=2.0, gt=0, description="time for a connection to a worker")
    probe_interval_s: float = Field(
        default=10.0,
        gt=0,
        description="how often a usable worker is asked what it serves, and an idle one whether it scores",
    )

    probe_timeout_s: float = Field(default=5.0, gt=0, description="time for a worker to answer a probe")

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

    retry_ratio: float = Field(default=0.2, ge=0, le=1, description="retries per first attempt that the budget allows")
    retry_reserve: float = Field(default=50.0, ge=0, description="retries the budget allows beside that, every 10 s")
    hedge: bool = Field(
        default=False, description="on sends a second attempt elsewhere when the first takes unusually long"
    )
    document_errors: Literal["error", "lowest"] = Field(
        default="error", description="documents no worker scores: an error that names them, or the lowest score"
    )
    fallback: Literal["none", "lexical"] = Field(
        default="none", description="lexical scores whole lists by words in common while no worker of a model is usable"
    )
    fallback_hold_s: float = Field(default=10.0, ge=0, description="how long a model stays on the fallback at least")

    max_pending_documents: int = Field(default=200_000, ge=1, description="documents in flight and queued at most")
    max_pending_documents_per_key: int | None = Field(
        default=None, ge=1, description="the same per API key; none leaves only the common limit"
    )
    key_max_pending_documents: dict[str, int] = Field(
        default={}, description="the same for single keys, as JSON by key name"
    )
    max_queue_wait_s: float = Field(
        default=5.0,
        gt=0,
        description="how long a request may wait for its turn after a burst; far less while it gets no shorter",
    )

    cache: bool = Field(
        default=True, description="off scores every pair again, even one that is being scored for another request"
    )
    cache_max_bytes: int = Field(
        default=64 * 2**20, ge=0, description="memory for cached scores, about 170 bytes per pair; 0 for none"
    )
    cache_ttl_s: int = Field(default=3600, ge=1, le=30 * 24 * 3600, description="how long scores are kept")
    cache_shared: bool = Field(
        default=False, description="on lets API keys share cached scores; off keeps each key's to itself"
    )
    cache_secret_file: Path | None = Field(
        default=None,
        description="a file with a secret of at least 16 bytes that keys the cache, the same for all replicas",
    )
    redis_url: Annotated[SecretStr, Field(min_length=1)] | None = Field(
        default=None,
        description="a Redis or Valkey that replicas share scores in: redis://, rediss:// or unix://",
    )
    redis_timeout_s: float = Field(
        default=0.02, gt=0, le=1, description="how long a request waits for Redis before it goes on without"
    )

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
    slow_request_s: float = Field(
        default=5.0, gt=0, description="a request that takes longer is logged as a warning, with where the time went"
    )
    traces: bool = Field(
        default=False,
        description="on exports spans to OTEL_EXPORTER_OTLP_ENDPOINT, over OTLP/HTTP; needs the extra traces",
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
        """The environment over files of secrets, over what the constructor was given: that is what the file says."""
        return env_settings, file_secret_settings, init_settings

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if problems := list(_contradictions(self)):
            raise ValueError("; ".join(problems))
        return self

    @property
    def keys(self) -> Mapping[str, str]:
        """Secrets by key name, from the setting and the file. Empty means open.

        Raises:
            SettingsError: the file can't be read, or not as keys.
        """
        from_file = _read_keys(self.api_keys_file) if self.api_keys_file else {}
        return {name: secret.get_secret_value() for name, secret in self.api_keys.items()} | from_file

    def shown(self) -> dict[str, Any]:
        """The settings as they can be shown: plain values, secrets as stars."""
        values = self.model_dump(mode="json")
        values["workers"] = [without_password(url) for url in self.workers]
        values["api_keys"] = dict.fromkeys(self.keys, "**********")
        return values

    @property
    def cache_secret(self) -> bytes | None:
        """The secret of the cache, if there is a file with one.

        Raises:
            SettingsError: the file can't be read, or is too short to hold a secret.
        """
        path = self.cache_secret_file
        return _read_secret(path) if path else None

    def for_model(self, name: str) -> ModelSettings:
        """The settings of the model that workers serve as `name`; defaults when none are written down."""
        return self.models.get(name) or ModelSettings()


def load(config: Path | None = None) -> Settings:
    """Settings from the environment over files of secrets over `config`.

    Raises:
        SettingsError: names every key at fault, and what it takes.
    """
    written = _read_yaml(config) if config else {}
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
    """What is legal but probably not meant: unknown `RERANK_` variables, time limits that Milvus can't wait for."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {f"{PREFIX}CONFIG", SECRETS_DIR}
    unknown = [name for name in sorted(environ) if name.startswith(PREFIX) and name not in known]
    found = [f"{name} is no setting{_nearest(name, known)}" for name in unknown]
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


def _read_keys(path: Path) -> dict[str, str]:
    try:
        keys = parse_keys(_lines(path))
    except OSError as exc:
        raise SettingsError(f"{PREFIX}API_KEYS_FILE: {path}: {exc.strerror}: name a file that can be read") from exc
    except ValueError as exc:
        raise SettingsError(f"{PREFIX}API_KEYS_FILE: {path}: {exc}: write one name:secret per line") from exc
    if not keys:
        raise SettingsError(f"{PREFIX}API_KEYS_FILE: {path} holds no key: write one name:secret per line")
    return keys


def _secrets_dir(path: str | None) -> Path | None:
    if path and not Path(path).is_dir():
        raise SettingsError(
            f"{SECRETS_DIR}: {path} is no directory: name one that holds files like rerank_worker_api_key"
        )
    return Path(path) if path else None


def _read_secret(path: Path) -> bytes:
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


def _contradictions(settings: Settings) -> Iterable[str]:
    """What each setting allows by itself, but not together."""
    if settings.min_batch > settings.max_batch:
        yield f"min_batch is {settings.min_batch}, above max_batch {settings.max_batch}: lower min_batch"
    if settings.worker_min_documents > settings.worker_max_documents:
        yield "worker_min_documents is above worker_max_documents: lower it"
    if settings.max_body_bytes > settings.max_bytes_in_flight:
        yield "max_body_bytes is above max_bytes_in_flight, so no body of that size could be read: lower max_body_bytes"
    if settings.no_worker_wait_s >= settings.deadline_s:
        yield "no_worker_wait_s is not below deadline_s, so waiting for a worker ends as a time-out: lower it"
    for number, url in enumerate(settings.workers, start=1):
        if problem := problem_with(url):
            yield f"workers: number {number} ({without_password(url)}) {problem}"
    yield from _cache_contradictions(settings)
    yield from _tls_contradictions(settings)
    if settings.traces and not _has_exporter():
        yield "traces is on, but what it needs isn't installed: pip install 'rerank-gateway[traces]'"
    for name in sorted(_NEVER_FORWARDED.intersection(settings.forward_fields)):
        yield f"forward_fields: {name} is what the gateway writes itself: leave it out"
    names = [name for model, own in settings.models.items() for name in (model, *own.aliases)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"models: the name {name} stands twice: give it to one model, as its name or as an alias"


def _cache_contradictions(settings: Settings) -> Iterable[str]:
    if settings.redis_url is None:
        return
    if not _is_redis_url(settings.redis_url.get_secret_value()):
        # Nothing of the URL is shown: in one that can't be read, nobody knows where the password stands.
        yield (
            "redis_url is no URL like redis://user:password@cache:6379/0, rediss://cache?ssl_ca_certs=/ca.pem or "
            f"unix:///run/redis.sock?db=0: percent-encode special characters; options are {', '.join(_REDIS_OPTIONS)}"
        )
    has_keys = settings.api_keys or settings.api_keys_file
    if has_keys and settings.cache_secret_file is None:
        yield (
            "redis_url with API keys needs cache_secret_file: without a secret that all replicas share, a key's cached "
            "scores could be told by whoever reaches Redis"
        )


def _tls_contradictions(settings: Settings) -> Iterable[str]:
    for name in ("tls_key_file", "tls_client_ca_file"):
        if getattr(settings, name) and settings.tls_cert_file is None:
            yield f"{name} says nothing without tls_cert_file: set that as well"
    if settings.worker_key_file and settings.worker_cert_file is None:
        yield "worker_key_file says nothing without worker_cert_file: set that as well"


def _has_exporter() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        # Not even a parent of it is there.
        return False


def _is_redis_url(url: str) -> bool:
    """Whether redis-py understands it, and it leaves alone what the gateway decides itself: time limits, for one."""
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        if parts.fragment or parts.port == 0:
            return False
    except ValueError:
        return False
    database = options.get("db", "0" if parts.scheme == "unix" else parts.path.strip("/") or "0")
    has_place = bool(parts.path if parts.scheme == "unix" else parts.hostname)
    taken = _REDIS_OPTIONS if parts.scheme == "rediss" else _REDIS_OPTIONS[:1]
    return (
        parts.scheme in {"redis", "rediss", "unix"}
        and has_place
        and database.isascii()
        and database.isdigit()
        and options.keys() <= set(taken)
        and options.get("ssl_cert_reqs", "none") in {"none", "optional", "required"}
    )


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
    """One line a person can act on: which key, what is wrong with it, what it takes."""
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


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _description_of(top: str, *below: str) -> str:
    """What a setting takes, or the part of it that stands two steps below: `models.<name>.<key>`."""
    part = ModelSettings.model_fields.get(below[1]) if len(below) > 1 else None
    return (part or Settings.model_fields[top]).description or ""
