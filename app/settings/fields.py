"""The settings, each with its default and what it does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from app.policy.truncate import Truncation
from app.settings.addresses import without_password
from app.settings.secrets import PREFIX, parse_keys, read_keys, read_secret
from app.types import LongDocuments


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _keys_by_name(value: object) -> object:
    return parse_keys(_split_commas(value)) if isinstance(value, str) else value


def _fit_for_headers(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not (text.isascii() and text.isprintable()):
        raise ValueError("it has a character that no header can carry: only printable ASCII can be sent")
    return secret


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]
# An empty secret would let everybody in: it is what a request without a key has.
Secret = Annotated[SecretStr, Field(min_length=1)]
SentSecret = Annotated[Secret, AfterValidator(_fit_for_headers)]
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


_UNWRITTEN = ModelSettings()


class Fields(BaseSettings):
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

    max_connections: int | None = Field(
        default=None,
        ge=1,
        description="connections of clients at most; none for three quarters of the open files allowed, up to 10,000",
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
    worker_api_key: SentSecret | None = Field(default=None, description="the workers' --api-key")
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
        description=(
            "how often a usable worker is asked what it serves, and whether it scores: an idle one each time, a busy "
            "one about every fourth"
        ),
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
    max_document_chars: int = Field(
        default=1_000_000, ge=1, description="characters per document, query or instruction at most"
    )

    deadline_s: float = Field(
        default=25.0, gt=0, description="time for one request, retries included; Milvus gives up at 30"
    )
    no_worker_wait_s: float = Field(
        default=5.0, ge=0, description="how long a request waits for a usable worker before a 503"
    )
    max_attempts: int = Field(default=4, ge=1, le=100, description="tries per chunk at most")

    retry_ratio: float = Field(default=0.2, ge=0, le=1, description="retries per first attempt of an API key")
    retry_reserve: float = Field(default=50.0, ge=0, description="retries of an API key beside that, every 10 s")
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
    cache_across_keys: bool = Field(
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
        default=512 * 2**20,
        ge=1,
        description=(
            "bytes of all request bodies and unread answers held at once at most; "
            "among several API keys, one may hold as much as is free"
        ),
    )
    body_timeout_s: float = Field(default=10.0, gt=0, description="time for a request body to arrive")
    write_timeout_s: float = Field(
        default=30.0, gt=0, description="time for a client to take the next part of its answer before it is cut off"
    )

    api_keys: ApiKeys = Field(
        default={}, description="name:secret pairs, comma-separated; none leaves the gateway open"
    )
    api_keys_file: Path | None = Field(
        default=None, description="a file with one name:secret per line; # starts a comment"
    )

    admin_key: Secret | None = Field(
        default=None, description="opens /admin and /ui; with none they open on a loopback address only"
    )
    ui: bool = Field(default=True, description="off serves no page at /ui")

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

    @property
    def keys(self) -> Mapping[str, str]:
        """Secrets by key name, from the setting and the file. Empty means open.

        Raises:
            SettingsError: the file can't be read, or not as keys.
        """
        from_file = read_keys(self.api_keys_file) if self.api_keys_file else {}
        return {name: secret.get_secret_value() for name, secret in self.api_keys.items()} | from_file

    @property
    def admin_keys(self) -> Mapping[str, str]:
        """The secret of the admin key by its name. Empty means none."""
        return {"admin": self.admin_key.get_secret_value()} if self.admin_key else {}

    @property
    def own_url(self) -> str:
        """Where this machine finds the gateway: an address that stands for all of them is no destination."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - nothing is bound here
        scheme = "https" if self.tls_cert_file else "http"
        return f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"

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
        return read_secret(path) if path else None

    def for_model(self, name: str) -> ModelSettings:
        """The settings of the model that workers serve as `name`; defaults when none are written down."""
        return self.models.get(name, _UNWRITTEN)
