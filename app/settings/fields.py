"""The settings, each with its default and, below it, what it does: pydantic takes that from the source."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.settings.addresses import without_password
from app.settings.model_settings import ModelSettings
from app.settings.secrets import PREFIX, read_keys, read_secret
from app.settings.value_types import ApiKeys, CommaSeparated, Secret, SentSecret
from app.types import LongDocuments

_MODEL_DEFAULTS = ModelSettings()


class Fields(BaseSettings):
    """The gateway's settings. Sizes are bytes, times seconds, as the names say."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        env_ignore_empty=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    host: str = "127.0.0.1"
    """address to listen on; 0.0.0.0 for all of IPv4, :: for all of both families, or of IPv4 where there is no IPv6"""
    port: int = Field(default=8080, ge=1, le=65535)
    """port to listen on"""
    keep_alive_s: int = Field(default=120, ge=1)
    """seconds an idle client connection is kept open; Milvus reuses one for up to 90 s"""

    max_connections: int | None = Field(default=None, ge=1)
    """most client connections at once; none means three quarters of the open files allowed, up to 10,000"""

    tls_cert_file: Path | None = None
    """PEM file with the gateway's certificate; none serves without TLS"""
    tls_key_file: Path | None = None
    """PEM file with the key of tls_cert_file; none when that file holds both"""
    tls_client_ca_file: Path | None = None
    """PEM file with authorities; clients must then show a certificate from one of them"""

    workers: CommaSeparated = Field(default=(), repr=False)  # a URL may carry a password
    """comma-separated URLs of vLLM servers, or of places to discover them: dns://host:port,
    kubernetes://namespace/service:port; none means the embedded lexical:// worker"""
    worker_api_key: SentSecret | None = None
    """API key sent to workers: vLLM's --api-key"""
    worker_ca_file: Path | None = None
    """PEM file with authorities for https workers, besides those the system trusts"""
    worker_cert_file: Path | None = None
    """PEM file with the certificate shown to workers"""
    worker_key_file: Path | None = None
    """PEM file with the key of worker_cert_file; none when that file holds both"""
    worker_max_calls: int = Field(default=64, ge=1, le=1024)
    """most calls in flight per worker"""
    worker_min_documents: int = Field(default=64, ge=1)
    """documents in flight at which a worker's adaptive limit starts, and its minimum"""
    worker_max_documents: int = Field(default=2048, ge=1)
    """documents in flight at most per worker: the maximum of its adaptive limit"""
    worker_connect_timeout_s: float = Field(default=2.0, gt=0)
    """longest time, in seconds, to open a connection to a worker"""
    probe_interval_s: float = Field(default=10.0, gt=0)
    """seconds between probes of a usable worker, which ask what it serves; an idle worker also scores a fixed text at
    each, a busy one at about every fourth"""
    probe_timeout_s: float = Field(default=5.0, gt=0)
    """longest time, in seconds, for a worker to answer a probe"""

    models: dict[str, ModelSettings] = {}
    """settings per model, by the name its workers serve it under"""
    suspect_models: Literal["serve", "refuse"] = "serve"
    """models that a check finds to be served wrongly, so that their scores mean nothing: serve them all the same, or
    refuse requests with a 503 that names the fix"""
    default_model: str | None = None
    """model for requests that name none; needed only when workers serve several"""
    forward_fields: CommaSeparated = ()
    """further request fields to pass on to workers, such as chat_template_kwargs or priority"""

    max_batch: int = Field(default=64, ge=1, le=100_000)
    """most documents per worker call"""
    max_batch_tokens: int = Field(default=32768, ge=1)
    """most estimated tokens per worker call"""
    min_batch: int = Field(default=16, ge=1)
    """fewest documents per worker call when a list is spread over idle workers"""
    long_documents: LongDocuments = "truncate"
    """documents too long for the model: truncate them, answer with an error, or cut them into passages and score each
    by its best"""
    passage_overlap_tokens: int = Field(default=32, ge=0)
    """tokens that each passage repeats of the one before, at most a quarter of a passage"""
    max_passages_per_document: int = Field(default=10, ge=1, le=1000)
    """most passages of a document; what is beyond is dropped, and counted"""
    max_documents: int = Field(default=20_000, ge=1)
    """most documents per request"""
    max_document_chars: int = Field(default=1_000_000, ge=1)
    """most characters per document, query or instruction"""
    image_hosts: CommaSeparated = ()
    """comma-separated hosts, such as images.example or images.example:8443, from which workers may fetch images that
    requests name by address; none takes images only as data"""

    deadline_s: float = Field(default=25.0, gt=0)
    """longest time, in seconds, for one request, including retries; Milvus gives up after 30 s"""
    no_worker_wait_s: float = Field(default=5.0, ge=0)
    """longest time, in seconds, a request waits for a usable worker before a 503"""
    max_attempts: int = Field(default=4, ge=1, le=100)
    """most attempts per chunk, the first included"""

    retry_ratio: float = Field(default=0.2, ge=0, le=1)
    """retries that each first attempt allows its API key"""
    retry_reserve: float = Field(default=50.0, ge=0)
    """retries allowed to an API key every 10 s, besides those of retry_ratio"""
    hedge: bool = False
    """on sends a second attempt to another worker when the first takes unusually long"""
    document_errors: Literal["error", "lowest"] = "error"
    """documents no worker will score: an error that names them, or the lowest score for each"""
    fallback: Literal["none", "lexical"] = "none"
    """lexical scores whole lists by words in common while no worker of a model is usable"""
    fallback_hold_s: float = Field(default=10.0, ge=0)
    """shortest time, in seconds, a model stays on the fallback"""

    max_pending_documents: int = Field(default=200_000, ge=1)
    """most documents in flight and queued at once"""
    max_pending_documents_per_key: int | None = Field(default=None, ge=1)
    """most documents in flight and queued per API key; none leaves only max_pending_documents"""
    key_max_pending_documents: dict[str, int] = {}
    """max_pending_documents_per_key of single API keys, as JSON by key name: {"team-a": 5000}"""
    max_queue_wait_s: float = Field(default=5.0, gt=0)
    """longest queue wait, in seconds, before a request is refused with 429; shortened to a twentieth, or four times the
    request's own scoring time, while the queue isn't shrinking"""

    cache: bool = True
    """off scores every pair anew, even one that is being scored for another request right now"""
    cache_max_bytes: int = Field(default=64 * 2**20, ge=0)
    """most memory, in bytes, for cached scores; a pair takes about 170, and 0 keeps none in memory"""
    cache_ttl_s: int = Field(default=3600, ge=1, le=30 * 24 * 3600)
    """seconds a cached score is kept"""
    cache_across_keys: bool = False
    """on lets API keys share cached scores; off keeps those of each key apart"""
    cache_secret_file: Path | None = None
    """file with a secret of at least 16 bytes that keys the cache, the same for all replicas"""
    redis_url: Secret | None = None
    """URL of a Redis or Valkey in which replicas share scores: redis://, rediss:// or unix://; redis+cluster://, redis+sentinel://"""
    redis_timeout_s: float = Field(default=0.02, gt=0, le=1)
    """longest time, in seconds, a request waits for Redis before it goes on"""

    max_body_bytes: int = Field(default=32 * 2**20, ge=1)
    """most bytes per request body"""
    max_bytes_in_flight: int = Field(default=512 * 2**20, ge=1)
    """most bytes of request bodies and unread answers held at once; with several API keys, one key may hold as many as
    are still free"""
    body_timeout_s: float = Field(default=10.0, gt=0)
    """longest time, in seconds, for a request body to arrive"""
    write_timeout_s: float = Field(default=30.0, gt=0)
    """longest time, in seconds, for a client to read the next part of its answer before it is closed"""

    api_keys: ApiKeys = {}
    """comma-separated name:secret pairs; none leaves the gateway open to everybody"""
    api_keys_file: Path | None = None
    """file with one name:secret per line, besides api_keys; # starts a comment"""

    cors_origins: CommaSeparated = ()
    """comma-separated origins of web pages, such as https://app.example, that may call the gateway from a browser; *
    for all, none for no other site's; never for /admin, /ui and /metrics"""

    admin_key: Secret | None = None
    """secret for /admin and /ui; none lets this machine in, over loopback only"""
    ui: bool = True
    """off serves no page at /ui"""

    drain_s: float = Field(default=5.0, ge=0)
    """seconds after SIGTERM in which new requests are still accepted"""
    log_format: Literal["json", "console"] = "json"
    """json for programs, or console for people"""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """least severe level that is logged"""
    slow_request_s: float = Field(default=5.0, gt=0)
    """seconds after which a request is logged as a warning, with where its time went"""
    traces: bool = False
    """on exports spans to OTEL_EXPORTER_OTLP_ENDPOINT over OTLP/HTTP; needs the extra `traces`"""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources, strongest first: environment, files of secrets, and the YAML file as constructor arguments."""
        return env_settings, file_secret_settings, init_settings

    @property
    def keys(self) -> Mapping[str, str]:
        """Secrets by key name, from the setting and the file; empty leaves the gateway open to everybody.

        Raises:
            SettingsError: the file can't be read, or a line isn't `name:secret`.
        """
        from_file = read_keys(self.api_keys_file) if self.api_keys_file else {}
        return {name: secret.get_secret_value() for name, secret in self.api_keys.items()} | from_file

    @property
    def admin_keys(self) -> Mapping[str, str]:
        """The admin key's secret by its name; empty without an admin key."""
        return {"admin": self.admin_key.get_secret_value()} if self.admin_key else {}

    @property
    def own_url(self) -> str:
        """The gateway's URL for programs on this machine: loopback where it listens on all addresses."""
        host = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104 - nothing is bound here
        scheme = "https" if self.tls_cert_file else "http"
        return f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"

    def shown(self) -> dict[str, Any]:
        """The settings as plain values, with stars for secrets."""
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
        """The settings of the model that workers serve as `name`; defaults when `models` has none."""
        return self.models.get(name, _MODEL_DEFAULTS)
