"""Writes configuration.md, metrics.md and clients.md, and tables of api.md, from what they describe: `make docs`."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from app.api.dialects import DIALECTS, ROUTES
from app.settings import PREFIX, ModelSettings, Settings
from app.telemetry.metrics.catalog import METRICS, SECTIONS
from app.telemetry.metrics.declaration import Declaration, Label
from tests.clients.page import clients

# A section begins with the setting that is named here, in the order of app/settings/.
_SECTIONS = {
    "host": "Listening",
    "workers": "Workers",
    "models": "Models",
    "max_batch": "Splitting and long texts",
    "deadline_s": "Time and tries",
    "cache": "Cache",
    "max_body_bytes": "Request bodies",
    "api_keys": "API keys",
    "admin_key": "Administration",
    "drain_s": "Stopping, logs and traces",
}
_KINDS = {
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
    "array": "list",
    "object": "mapping",
    "password": "secret",
    "string": "text",
    "path": "file",
}
_INTRODUCTION = """\
# Configuration

<!-- Written by docs/generate.py from app/settings/. Change the descriptions there, then run `make docs`. -->

Every setting has a default: a gateway without any listens on 127.0.0.1:8080 and scores with the embedded lexical
worker.

- In the environment a setting is called `RERANK_` and its name in capitals: `RERANK_MAX_BATCH=64`.
- In a YAML file it has its plain name: `max_batch: 64`. Name the file with `--config FILE` or `RERANK_CONFIG=FILE`.
- Secrets may stand in files: `RERANK_SECRETS_DIR` names a directory, as Docker and Kubernetes mount one, with files
  such as `rerank_worker_api_key`, `rerank_api_keys` or `rerank_redis_url`.
- The environment wins over those files, they over the YAML file, that over the default. An empty variable counts as
  absent.
- A list is comma-separated in the environment and may be a list in the file. `models` is JSON in the environment.
- Names carry their unit: `_s` is seconds, `_bytes` bytes, `_chars` characters, `_tokens` tokens.

`rerank-gateway check-config` prints what is in force, with secrets as stars, and ends with 0; or it prints one line
per mistake and ends with 2. A key of the file that is no setting is a mistake; a `RERANK_` variable that is none is a
warning.

Settings are read at the start. SIGHUP reads them again: API keys, the admin key, certificates and the log's level and
form hold from then on, without a request noticing; what needs a restart is named in the log. A mistake is refused with
its reason, and everything stays as it was.
"""
_MODELS = """
What a worker doesn't tell about a model stands under `models`, by the name workers serve it under (their
`--served-model-name`):

```yaml
models:
  bge-reranker-v2-m3:
    aliases: [default, rerank-english-v3.0]
  qwen3-reranker:
    kind: template
    template_tokens: 160
```

| key | default | takes | what it does |
|---|---|---|---|
"""
_CONTRADICTIONS = """
## What doesn't go together

These are refused at the start, with a message that names the settings:

- `min_batch` above `max_batch`;
- `max_body_bytes` above `max_bytes_in_flight`;
- `no_worker_wait_s` not below `deadline_s`;
- one name for two models, as a name, an alias or a pattern;
- a worker that is no `http://` or `https://` URL, nor `dns://host:port`, `kubernetes://namespace/service:port` or
`lexical://`;
- in `forward_fields`, a field that the gateway writes itself, such as `model` or `documents`;
- `traces` where the extra isn't installed;
- a key file without a key, or a key with an empty secret.

A `deadline_s` of 30 or more is only warned about: Milvus has given up by then.

In Kubernetes, a Service called `rerank` makes the pods beside it see `RERANK_PORT=tcp://...`. The gateway refuses to
start and says so: set `enableServiceLinks: false` in the pod, or give the Service another name.
"""
_METRICS = """\
# Metrics

<!-- Written by docs/generate.py from app/telemetry/metrics/catalog/. Change the meanings there, then run `make docs`.
-->

`GET /metrics` has these in Prometheus's text format, and needs no key. Label values come from the closed sets below or
from the operator, never from a client, so no request adds a series. A worker that leaves takes its own along.

Each replica counts what it did itself, from 0 at its start: `sum by (route) (rate(rerank_requests_total[1m]))` is what
all of them did. Prometheus's client library adds `process_start_time_seconds`, `process_open_fds` and more.
"""
_LABELS = """
## Labels

| label | of | values |
|---|---|---|
"""
_DECLARED_ELSEWHERE = {
    "route": ", ".join(f"`{route}`" for route in ROUTES),
    "dialect": ", ".join(f"`{dialect.name}`" for dialect in DIALECTS),
    "worker": "host, port and path of a worker's URL, without its credentials",
    "model": "names of the setting `models`",
    "version": "the gateway's version",
    "python": "Python's version",
}


def configuration() -> str:
    """The page about the settings."""
    return _INTRODUCTION + "".join(_sections()) + _CONTRADICTIONS


def metrics() -> str:
    """The page about the metrics."""
    return _METRICS + "".join(_metric_sections()) + _LABELS + "".join(_label_rows())


def api() -> str:
    """The page about the API: written by hand, but for the tables between its marks."""
    text = Path(__file__).with_name("api.md").read_text()
    for name, table in (("shapes", _shapes), ("detection", _detection)):
        begin, end = f"<!-- {name} begin -->\n", f"<!-- {name} end -->\n"
        before, _, rest = text.partition(begin)
        text = before + begin + "".join(table()) + end + rest.partition(end)[2]
    return text


def _shapes() -> Iterator[str]:
    yield "| dialect | request | answer |\n|---|---|---|\n"
    for dialect in DIALECTS:
        also = "".join(f", `/{prefix}`" for prefix in dialect.prefixes)
        yield f"| `{dialect.name}`{f' (also{also[1:]})' if also else ''} | {dialect.request} | {dialect.answer} |\n"


def _detection() -> Iterator[str]:
    score, cohere2 = (next(one for one in DIALECTS if one.name == name) for name in ("score", "cohere2"))
    yield "| the request | dialect |\n|---|---|\n"
    yield f"| comes to {_listed(score.routes)} | `{score.name}` |\n"
    yield "| query string has `dialect` | the one it names; an unknown name is a 400 |\n"
    yield f"| comes to {_listed(cohere2.routes)}, behind no dialect's name but `/cohere` | `{cohere2.name}` |\n"
    yield "| path begins with a dialect's name | that one |\n"
    yield from (f"| body has {one.sign} | `{one.name}` |\n" for one in DIALECTS if one.sign)
    for dialect in DIALECTS:
        if dialect.routes and dialect not in {score, cohere2}:
            yield f"| comes to {_listed(dialect.routes)} | `{dialect.name}` |\n"


def _listed(routes: Iterable[str]) -> str:
    return " or ".join(f"`{route}`" for route in routes)


def _sections() -> Iterator[str]:
    for name, row in _rows(Settings, PREFIX):
        if name in _SECTIONS:
            yield f"\n## {_SECTIONS[name]}\n\n| variable | default | takes | what it does |\n|---|---|---|---|\n"
        yield row
        if name == "forward_fields":
            yield _MODELS + "".join(row for _, row in _rows(ModelSettings, ""))


def _rows(settings: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    schema = settings.model_json_schema()["properties"]
    for name, field in settings.model_fields.items():
        shown = f"{prefix}{name.upper()}" if prefix else name
        what = " ".join((field.description or "").split())
        yield name, f"| `{shown}` | {_default(name, field.default)} | {_takes(schema[name])} | {what} |\n"


def _default(name: str, value: Any) -> str:
    if value in (None, "", (), {}):
        return "none"
    if isinstance(value, bool):
        return f"`{value}`".lower()
    mebibytes = f" ({value // 2**20} MiB)" if "_bytes" in name else ""
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`{mebibytes}"


def _takes(schema: Mapping[str, Any]) -> str:
    """The values of a setting, in words."""
    if "anyOf" in schema:
        return _takes(next(one for one in schema["anyOf"] if one.get("type") != "null"))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    return _KINDS[schema.get("format", schema["type"])] + _range(schema)


def _range(schema: Mapping[str, Any]) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f", {schema['minimum']} to {schema['maximum']}"
    if "exclusiveMinimum" in schema:
        most = f", {schema['maximum']:g} at most" if "maximum" in schema else ""
        return f" above {schema['exclusiveMinimum']:g}{most}"
    return f" from {schema['minimum']:g}" if "minimum" in schema else ""


def _metric_sections() -> Iterator[str]:
    for title, declared in SECTIONS.items():
        yield f"\n## {title}\n\n| metric | type | unit | labels | what it shows |\n|---|---|---|---|---|\n"
        for one in declared:
            labels = ", ".join(f"`{label.name}`" for label in one.labels)
            yield f"| `{one.name}` | {one.kind} | {one.unit or '0 or 1'} | {labels} | {_with_code(one.meaning)} |\n"


def _with_code(meaning: str) -> str:
    """The meaning with the names in it set as code."""
    return re.sub(r"\b(?:RERANK|rerank)_\w+", r"`\g<0>`", meaning)


def _label_rows() -> Iterator[str]:
    metrics_with: dict[Label, list[Declaration]] = {}
    for one in METRICS:
        for label in one.labels:
            metrics_with.setdefault(label, []).append(one)
    for label, having in metrics_with.items():
        names = ", ".join(f"`{one.name}`" for one in having)
        values = ", ".join(f"`{value}`" for value in label.values) or _DECLARED_ELSEWHERE[label.name]
        yield f"| `{label.name}` | {names} | {values} |\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "api.md": api,
    "clients.md": clients,
    "configuration.md": configuration,
    "metrics.md": metrics,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        Path(__file__).with_name(name).write_text(page())
