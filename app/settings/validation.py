"""Contradictions between settings, each of which is valid by itself."""

import importlib.util
from collections.abc import Iterable, Sequence
from typing import Self
from urllib.parse import urlsplit

from pydantic import model_validator

from app.policy.model_profile import TAKE_INSTRUCTIONS
from app.settings.addresses import problem_with, without_password
from app.settings.fields import Fields
from app.settings.image_hosts import problem_with_host
from app.settings.model_settings import ModelSettings
from app.settings.redis_url import REDIS_OPTIONS, is_redis_url

# A client that could set these would change which documents a worker scores, or how many scores it returns.
_NEVER_FORWARDED = frozenset(
    {"model", "query", "queries", "documents", "items", "text_1", "text_2", "data_1", "data_2", "top_n"}
)


class Settings(Fields):
    """The gateway's settings, checked against each other."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if problems := list(contradictions(self)):
            raise ValueError("; ".join(problems))
        return self


def contradictions(settings: Fields) -> Iterable[str]:
    """One sentence per contradiction, with the fix."""
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
    yield from _image_host_contradictions(settings.image_hosts)
    yield from _cache_contradictions(settings)
    yield from _tls_contradictions(settings)
    yield from _origin_contradictions(settings.cors_origins)
    if settings.traces and not _has_exporter():
        yield "traces is on, but what it needs isn't installed: pip install 'rerank-gateway[traces]'"
    for name in sorted(_NEVER_FORWARDED.intersection(settings.forward_fields)):
        yield f"forward_fields: {name} is what the gateway writes itself: leave it out"
    yield from _model_contradictions(settings)


def _model_contradictions(settings: Fields) -> Iterable[str]:
    for model, own in settings.models.items():
        if own.kind == "listwise" and (own.long_documents or settings.long_documents) == "passages":
            yield (
                f"models: {model} compares documents with each other, so it can't score them by passages: set its "
                "long_documents to truncate or error"
            )
    names = [name for model, own in settings.models.items() for name in (model, *own.aliases)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"models: the name {name} stands twice: give it to one model, as its name or as an alias"
    for name, own in settings.models.items():
        yield from (f"models.{name}: {problem}" for problem in _score_contradictions(own))


def _score_contradictions(own: ModelSettings) -> Iterable[str]:
    if own.instruction and own.kind and own.kind not in TAKE_INSTRUCTIONS:
        yield (
            f"instruction does nothing on kind {own.kind}: leave it out, or write kind: template if workers "
            "have a chat template"
        )
    if own.normalize == "sigmoid" and (own.kind == "late_interaction" or own.score_scale == "maxsim"):
        yield "normalize: sigmoid makes most sums over tokens equal (maxsim, late_interaction): leave it out"


def _cache_contradictions(settings: Fields) -> Iterable[str]:
    if settings.redis_url is None:
        return
    if not is_redis_url(settings.redis_url.get_secret_value()):
        # The URL isn't shown: in one that can't be parsed, any part may be the password.
        yield (
            "redis_url is no URL like redis://user:password@cache:6379/0, rediss://cache?ssl_ca_certs=/ca.pem, "
            "unix:///run/redis.sock?db=0, redis+cluster://one:6379,two:6379 or redis+sentinel://one:26379,two/PRIMARY: "
            f"percent-encode special characters; options are {', '.join(REDIS_OPTIONS)}"
        )
    has_keys = settings.api_keys or settings.api_keys_file
    if has_keys and settings.cache_secret_file is None:
        yield (
            "redis_url with API keys needs cache_secret_file: without a secret that all replicas share, a key's cached "
            "scores could be told by whoever reaches Redis"
        )


def _tls_contradictions(settings: Fields) -> Iterable[str]:
    for name in ("tls_key_file", "tls_client_ca_file"):
        if getattr(settings, name) and settings.tls_cert_file is None:
            yield f"{name} says nothing without tls_cert_file: set that as well"
    if settings.worker_key_file and settings.worker_cert_file is None:
        yield "worker_key_file says nothing without worker_cert_file: set that as well"


def _origin_contradictions(origins: Sequence[str]) -> Iterable[str]:
    if "*" in origins:
        if len(origins) > 1:
            yield "cors_origins: * stands for all: leave the others out"
        return
    for origin in origins:
        if not _is_origin(origin):
            yield (
                f"cors_origins: {origin} is no origin as browsers write it: give scheme, host and, unless it is the "
                "usual one, port, such as https://app.example or http://localhost:3000"
            )


def _image_host_contradictions(hosts: Sequence[str]) -> Iterable[str]:
    for host in hosts:
        if problem := problem_with_host(host):
            yield f"image_hosts: {host:.100} {problem}"


def _has_exporter() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        # Not even a parent of it is there.
        return False


def _is_origin(text: str) -> bool:
    """True if browsers may send this text as `Origin`: in small letters, and without the scheme's usual port."""
    try:
        parts = urlsplit(text)
        has_usual_port = (parts.scheme, parts.port) in {("https", 443), ("http", 80)}
    except ValueError:
        return False
    is_whole = text.isascii() and text == f"{parts.scheme}://{parts.netloc}".lower()
    return bool(is_whole and parts.scheme and parts.hostname and not {"@", "*"} & {*text} and not has_usual_port)
