"""Settings: where they come from, and what is said when they are wrong."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from pydantic import SecretStr, ValidationError

from app.cache.redis_primaries import RedisPrimaries
from app.settings import Settings, SettingsError, load, parse_keys, warnings_about
from app.settings.addresses import problem_with
from app.workers.discovery import sources

Env = pytest.MonkeyPatch


def _written(tmp_path: Path, content: str) -> Path:
    file = tmp_path / "gateway.yaml"
    file.write_text(content)
    return file


def _refused(config: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(config)
    return str(caught.value)


def test_the_defaults_need_nothing():
    settings = load()
    assert (settings.host, settings.port, settings.workers, dict(settings.keys)) == ("127.0.0.1", 8080, (), {})
    assert warnings_about(settings, {}) == []


def test_the_defaults_suit_milvus():
    settings = load()
    assert settings.keep_alive_s > 90, "Milvus reuses a connection that was idle for up to 90 s"
    assert settings.deadline_s < 30, "Milvus gives up after 30 s"
    assert settings.max_documents >= 16384, "the largest limit of a Milvus search"


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path, monkeypatch: Env):
    config = _written(tmp_path, "max_batch: 32\nmin_batch: 8\nworkers: [http://from-file:8000]\n")
    monkeypatch.setenv("RERANK_MAX_BATCH", "99")
    settings = load(config)
    assert (settings.max_batch, settings.min_batch, settings.max_attempts) == (99, 8, 4)
    assert settings.workers == ("http://from-file:8000",)


def test_an_empty_variable_counts_as_absent(tmp_path: Path, monkeypatch: Env):
    monkeypatch.setenv("RERANK_MAX_BATCH", "")
    monkeypatch.setenv("RERANK_WORKERS", "")
    settings = load(_written(tmp_path, "max_batch: 32\nworkers: http://gpu-1:8000\n"))
    assert (settings.max_batch, settings.workers) == (32, ("http://gpu-1:8000",))


def test_an_empty_file_changes_nothing(tmp_path: Path):
    assert load(_written(tmp_path, "# nothing yet\n")) == load()


def test_lists_are_separated_by_commas_in_the_environment_and_may_be_lists_in_the_file(
    tmp_path: Path, monkeypatch: Env
):
    monkeypatch.setenv("RERANK_WORKERS", " http://gpu-1:8000, http://gpu-2:8000 ,")
    settings = load(_written(tmp_path, "forward_fields: [priority, chat_template_kwargs]\n"))
    assert settings.workers == ("http://gpu-1:8000", "http://gpu-2:8000")
    assert settings.forward_fields == ("priority", "chat_template_kwargs")


def test_models_are_json_in_the_environment_and_a_mapping_in_the_file(tmp_path: Path, monkeypatch: Env):
    models = {"qwen": {"aliases": ["default"], "truncation": "document", "template_tokens": 40}}
    from_file = load(_written(tmp_path, yaml.safe_dump({"models": models})))
    monkeypatch.setenv("RERANK_MODELS", json.dumps(models))
    assert load().models == from_file.models
    assert load().for_model("qwen").template_tokens == 40
    assert load().for_model("other").truncation is None


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        load().port = 1  # type: ignore[misc]  # it is what must fail


WRONG = {
    "no number": ("RERANK_MAX_BATCH", "many", ["RERANK_MAX_BATCH", "integer", "documents per worker call"]),
    "too small": ("RERANK_MAX_ATTEMPTS", "0", ["RERANK_MAX_ATTEMPTS", "greater than or equal to 1"]),
    "too large": ("RERANK_PORT", "70000", ["RERANK_PORT", "65535", "port to listen on"]),
    "no port": ("RERANK_PORT", "0", ["RERANK_PORT", "greater than or equal to 1"]),
    "not a number": ("RERANK_DEADLINE_S", "nan", ["RERANK_DEADLINE_S", "number"]),
    "endless": ("RERANK_DEADLINE_S", "inf", ["RERANK_DEADLINE_S", "finite number"]),
    "no choice": ("RERANK_LONG_DOCUMENTS", "cut", ["RERANK_LONG_DOCUMENTS", "'truncate', 'error' or 'passages'"]),
    "models not JSON": ("RERANK_MODELS", "qwen", ["RERANK_MODELS", "not JSON"]),
    "a model's setting": (
        "RERANK_MODELS",
        '{"qwen": {"truncation": "left"}}',
        ["RERANK_MODELS", "models.qwen.truncation", "'pair' or 'document'"],
    ),
    "a model's kind": (
        "RERANK_MODELS",
        '{"qwen": {"kind": "generative"}}',
        ["models.qwen.kind", "'cross_encoder', 'template', 'bi_encoder', 'late_interaction' or 'listwise'"],
    ),
    "a model's scale": (
        "RERANK_MODELS",
        '{"qwen": {"score_scale": "percent"}}',
        ["models.qwen.score_scale", "'probability', 'cosine', 'logit' or 'maxsim'"],
    ),
    "a model's unknown setting": (
        "RERANK_MODELS",
        '{"qwen": {"alias": ["q"]}}',
        ["models.qwen.alias", "RERANK_MODELS", "did you mean aliases?"],
    ),
    "a model's setting no list": (
        "RERANK_MODELS",
        '{"qwen": {"aliases": "q"}}',
        ["models.qwen.aliases", "must be a list", "other names"],
    ),
    "a key without a secret": ("RERANK_API_KEYS", "milvus:", ["RERANK_API_KEYS", "key 1", "name:secret"]),
    "a key twice": ("RERANK_API_KEYS", "milvus:a,milvus:b", ["RERANK_API_KEYS", "the name milvus stands twice"]),
    "no key file": (
        "RERANK_API_KEYS_FILE",
        "/nowhere/keys",
        ["RERANK_API_KEYS_FILE", "/nowhere/keys", "No such file", "name a file"],
    ),
    "a Service called rerank": (
        "RERANK_PORT",
        "tcp://10.96.0.1:8080",
        ["RERANK_PORT", "Kubernetes", "enableServiceLinks: false"],
    ),
    "min above max": ("RERANK_MIN_BATCH", "100", ["min_batch is 100", "max_batch 64", "lower min_batch"]),
    "body above all bodies": (
        "RERANK_MAX_BYTES_IN_FLIGHT",
        "1000",
        ["max_body_bytes", "max_bytes_in_flight", "lower max_body_bytes"],
    ),
    "waits past the deadline": ("RERANK_NO_WORKER_WAIT_S", "25", ["no_worker_wait_s", "deadline_s", "lower it"]),
    "forwards a field of ours": (
        "RERANK_FORWARD_FIELDS",
        "priority,top_n",
        ["forward_fields", "top_n", "leave it out"],
    ),
    "passages of a listwise model": (
        "RERANK_MODELS",
        '{"jina": {"kind": "listwise", "long_documents": "passages"}}',
        ["models", "jina compares documents with each other", "long_documents to truncate"],
    ),
    "instruction on a cross-encoder": (
        "RERANK_MODELS",
        '{"bge": {"kind": "cross_encoder", "instruction": "find laws"}}',
        ["models.bge", "instruction does nothing on kind cross_encoder", "leave it out"],
    ),
    "sigmoid of sums": (
        "RERANK_MODELS",
        '{"colbert": {"kind": "late_interaction", "normalize": "sigmoid"}}',
        ["models.colbert", "normalize: sigmoid", "late_interaction", "leave it out"],
    ),
    "sigmoid of what is declared a sum": (
        "RERANK_MODELS",
        '{"colbert": {"score_scale": "maxsim", "normalize": "sigmoid"}}',
        ["models.colbert", "normalize: sigmoid", "maxsim"],
    ),
    "unknown normalization": (
        "RERANK_MODELS",
        '{"bge": {"normalize": "minmax"}}',
        ["models.bge.normalize", "'none' or 'sigmoid'"],
    ),
    "one name for two models": (
        "RERANK_MODELS",
        '{"a": {"aliases": ["c"]}, "b": {"aliases": ["c"]}}',
        ["models", "the name c stands twice", "give it to one"],
    ),
    "one pattern for two models": (
        "RERANK_MODELS",
        '{"a": {"aliases": ["rerank-*"]}, "b": {"aliases": ["rerank-*"]}}',
        ["models", "the name rerank-* stands twice", "give it to one"],
    ),
}


@pytest.mark.parametrize(("variable", "value", "words"), WRONG.values(), ids=WRONG.keys())
def test_an_error_is_one_line_that_names_the_key_and_what_it_takes(
    monkeypatch: Env, variable: str, value: str, words: list[str]
):
    monkeypatch.setenv(variable, value)
    told = _refused()
    assert "\n" not in told
    assert all(word in told for word in words), told


CANNOT_BE_REDIS = [
    "cache:6379",
    "http://:hush@cache",
    "redis://",
    "redis://user:hush@:6379",
    "redis://user:hush@cache:99999",
    "redis://user:hush@cache:0",
    "redis://user:hush@[cache",
    "redis://user:hu\u2100sh@cache",
    "redis://user:hush/hush@cache",
    "redis://user:12#hush@cache",
    "redis://user:12?hush=hush@cache",
    "redis://:hush@cache/first",
    "redis://:hush@cache?db=first",
    "redis://:hush@cache?db",
    "redis://:hush@cache?socket_timeout=5",
    "redis://:hush@cache?ssl_ca_certs=ca.pem",
    "rediss://:hush@cache?ssl_cert_reqs=hush",
    "unix://:hush@",
    "unix://:hush@/run/redis.sock?ssl_ca_certs=ca.pem",
    "redis+cluster://:hush@one:6379,",
    "redis+cluster://:hush@one:6379,two:99999",
    "redis+cluster://:hush@one/1",
    "redis+cluster://:hush@one?db=1",
    "redis+cluster://:hush@one?ssl_ca_certs=ca.pem",
    "redis+sentinel://:hush@one:26379,two:26379",
    "redis+sentinel://:hush@one:0/scores",
    "redis+sentinel://:hush@one/scores/first",
    "redis+twins://:hush@one,two",
    "unix+cluster://:hush@/run/redis.sock",
]


@pytest.mark.parametrize("url", CANNOT_BE_REDIS)
def test_a_redis_url_that_cannot_be_used_is_refused_and_never_shown(monkeypatch: Env, url: str):
    monkeypatch.setenv("RERANK_REDIS_URL", url)
    told = _refused()
    assert "redis_url is no URL like redis://user:password@cache:6379/0" in told
    assert "percent-encode" in told
    assert "hush" not in told


@pytest.mark.parametrize(
    "url",
    [
        "redis://cache",
        "redis://cache:6379/",
        "redis://:p%40ss@cache:6379/15",
        "redis://user:pass@[::1]:6379?db=2",
        "rediss://cache?ssl_ca_certs=/etc/ca.pem&ssl_cert_reqs=required&ssl_check_hostname=false",
        "rediss://cache/1?ssl_certfile=/etc/cert.pem&ssl_keyfile=/etc/key.pem",
        "unix:///run/redis.sock",
        "unix://user:pass@/run/redis.sock?db=1",
        "redis+cluster://one,two:6380,[::1]:6381",
        "rediss+cluster://user:p%40ss@one:6379?ssl_ca_certs=/etc/ca.pem",
        "redis+sentinel://:pass@one,two:26380,[::1]/scores",
        "rediss+sentinel://user:pass@one:26379/scores/2?ssl_check_hostname=false",
    ],
)
def test_every_redis_url_that_is_taken_makes_a_connection(monkeypatch: Env, url: str):
    monkeypatch.setenv("RERANK_REDIS_URL", url)
    settings = load()
    assert settings.redis_url
    RedisPrimaries(settings.redis_url.get_secret_value())


def test_keys_that_share_redis_need_a_secret_that_all_replicas_share(tmp_path: Path, monkeypatch: Env):
    monkeypatch.setenv("RERANK_REDIS_URL", "redis://cache")
    load()
    monkeypatch.setenv("RERANK_API_KEYS", "milvus:hush")
    assert "redis_url with API keys needs cache_secret_file" in _refused()
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef\n")
    monkeypatch.setenv("RERANK_CACHE_SECRET_FILE", str(secret))
    assert load().cache_secret == b"0123456789abcdef"


def test_keys_from_a_file_need_that_secret_too(tmp_path: Path, monkeypatch: Env):
    keys = tmp_path / "keys"
    keys.write_text("milvus:hush\n")
    monkeypatch.setenv("RERANK_REDIS_URL", "redis://cache")
    monkeypatch.setenv("RERANK_API_KEYS_FILE", str(keys))
    assert "redis_url with API keys needs cache_secret_file" in _refused()


@pytest.mark.parametrize(
    "origin",
    [
        "app.example",
        "https://app.example/",
        "https://app.example/path",
        "https://App.example",
        "https://app.example:443",
        "http://app.example:80",
        "https://user@app.example",
        "https://*.example",
        "https://app.example:99999",
        "https://bücher.example",
        "null",
        "://app.example",
    ],
)
def test_an_origin_that_no_browser_sends_is_named(monkeypatch: Env, origin: str):
    monkeypatch.setenv("RERANK_CORS_ORIGINS", f"https://app.example,{origin}")
    assert f"cors_origins: {origin} is no origin as browsers write it" in _refused()


@pytest.mark.parametrize(
    "origin", ["https://app.example", "http://localhost:3000", "http://[::1]:8080", "chrome-extension://abcdef", "*"]
)
def test_an_origin_may_be_any_that_browsers_send_or_all(monkeypatch: Env, origin: str):
    monkeypatch.setenv("RERANK_CORS_ORIGINS", origin)
    assert load().cors_origins == (origin,)


def test_all_origins_and_some_contradict_each_other(monkeypatch: Env):
    monkeypatch.setenv("RERANK_CORS_ORIGINS", "https://app.example,*")
    assert "cors_origins: * stands for all: leave the others out" in _refused()


@pytest.mark.parametrize("written", [b"", b"hush", b"\n fifteen-of-hush \n"])
def test_a_secret_that_could_be_guessed_is_refused_and_never_shown(tmp_path: Path, monkeypatch: Env, written: bytes):
    secret = tmp_path / "secret"
    secret.write_bytes(written)
    monkeypatch.setenv("RERANK_CACHE_SECRET_FILE", str(secret))
    told = _refused()
    assert told.startswith(f"RERANK_CACHE_SECRET_FILE: {secret} holds {len(written.strip())} bytes: write at least 16")
    assert "hush" not in told


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: Env):
    for path, problem in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        monkeypatch.setenv("RERANK_CACHE_SECRET_FILE", str(path))
        assert _refused().startswith(f"RERANK_CACHE_SECRET_FILE: {path}: {problem}")


@pytest.mark.parametrize(
    "url", ["gpu-1:8000", "ftp://gpu-1", "http://", "http://[gpu-1", "http://gpu-1:99999", "http://gpu-1:0", "lexical:"]
)
def test_a_worker_that_is_no_url_is_named_with_its_place(monkeypatch: Env, url: str):
    monkeypatch.setenv("RERANK_WORKERS", f"http://gpu-0:8000,{url}")
    told = _refused()
    assert f"workers: number 2 ({url}) is no URL like http://gpu-1:8000" in told
    assert "number 1" not in told


@pytest.mark.parametrize("url", ["http://gpu-1", "HTTPS://gpu-1:8000/v1", "http://[::1]:8000", "lexical://"])
def test_a_worker_may_be_any_http_url_or_the_embedded_one(monkeypatch: Env, url: str):
    monkeypatch.setenv("RERANK_WORKERS", url)
    assert load().workers == (url,)


DNS_FORM = "is not of the form dns://host:port"
SERVICE_FORM = "is not of the form kubernetes://namespace/service:port, with the name or number of a port"
MISSHAPEN = {
    "dns://vllm": DNS_FORM,
    "dns://:8000": DNS_FORM,
    "dns://vllm:0": DNS_FORM,
    "dns://vllm:65536": DNS_FORM,
    "dns://vllm:http": DNS_FORM,
    "dns://vllm:8000/v1": DNS_FORM,
    "dns://a..b:8000": DNS_FORM,
    f"dns://{'a' * 64}:8000": DNS_FORM,
    "kubernetes://vllm:8000": SERVICE_FORM,
    "kubernetes://default/vllm": SERVICE_FORM,
    "kubernetes:///vllm:8000": SERVICE_FORM,
    "kubernetes://default/vllm:": SERVICE_FORM,
    "kubernetes://default/vllm:8000/v1": SERVICE_FORM,
    "kubernetes://default/../secrets:8000": SERVICE_FORM,
    "k8s://default/vllm:8000": "is no URL like http://gpu-1:8000",
}


@pytest.mark.parametrize(("address", "problem"), MISSHAPEN.items())
def test_a_place_to_look_for_workers_is_named_when_it_is_misshapen(monkeypatch: Env, address: str, problem: str):
    monkeypatch.setenv("RERANK_WORKERS", f"http://gpu-0:8000,{address}")
    assert f"workers: number 2 ({address}) {problem}" in _refused()


@pytest.mark.parametrize("address", ["dns://user:hush@vllm:8000", "kubernetes://hush@default/vllm:8000"])
def test_a_place_to_look_for_workers_takes_no_password_and_shows_none(monkeypatch: Env, address: str):
    monkeypatch.setenv("RERANK_WORKERS", address)
    told = _refused()
    assert "is not of the form" in told
    assert "hush" not in told


def test_workers_may_be_listed_and_looked_for_side_by_side(monkeypatch: Env):
    listed = (
        "http://gpu-1:8000",
        "dns://vllm:8000",
        "DNS://_http.vllm.default.svc.cluster.local.:8000",
        "kubernetes://default/vllm:http",
        "kubernetes://ml-team/vllm-2:8000",
    )
    monkeypatch.setenv("RERANK_WORKERS", ",".join(listed))
    assert load().workers == listed
    names = [source.name for source in sources(load().workers, Random(7))]
    assert names == [
        "RERANK_WORKERS",
        "dns://vllm:8000",
        "dns://_http.vllm.default.svc.cluster.local.:8000",
        "kubernetes://default/vllm:http",
        "kubernetes://ml-team/vllm-2:8000",
    ]


def test_all_errors_are_told_at_once(monkeypatch: Env):
    monkeypatch.setenv("RERANK_MAX_BATCH", "many")
    monkeypatch.setenv("RERANK_PORT", "http")
    assert [line.split(":")[0] for line in _refused().splitlines()] == ["RERANK_PORT", "RERANK_MAX_BATCH"]


def test_all_contradictions_are_told_at_once(monkeypatch: Env):
    monkeypatch.setenv("RERANK_MIN_BATCH", "100")
    monkeypatch.setenv("RERANK_DEADLINE_S", "3")
    told = _refused()
    assert "min_batch" in told
    assert "no_worker_wait_s" in told


def test_an_unknown_key_of_the_file_is_refused_with_the_nearest_one(tmp_path: Path):
    told = _refused(_written(tmp_path, "max_bach: 3\nmodels:\n  qwen:\n    revison: a\nzzz: 1\n"))
    assert "max_bach in" in told
    assert "did you mean max_batch?" in told
    assert "models.qwen.revison in" in told
    assert "did you mean revision?" in told
    assert next(line for line in told.splitlines() if line.startswith("zzz")).endswith("is no setting")


def test_an_error_names_the_variable_and_the_place_in_the_file(tmp_path: Path):
    config = _written(tmp_path, "max_batch: many\n")
    assert _refused(config).startswith(f"RERANK_MAX_BATCH (or max_batch in {config}): ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("- a\n- b\n", "must hold settings as `key: value` lines"),
        ("1: 2\n", "must hold settings as `key: value` lines"),
        ("max_batch: 1: 2\n", "is not YAML in line 1"),
        ("max_batch: 1\nhost: *nowhere\n", "is not YAML in line 2"),
        ("host: \x00\n", "is not YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_named(tmp_path: Path, content: str, words: str):
    config = _written(tmp_path, content)
    told = _refused(config)
    assert told.startswith(str(config))
    assert words in told


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    assert _refused(tmp_path / "none.yaml").startswith(f"{tmp_path / 'none.yaml'}: No such file")
    assert "give --config a file" in _refused(tmp_path)


def test_unknown_variables_are_warned_about_with_the_nearest_one():
    environ = {"RERANK_MAX_BACH": "3", "RERANK_ZZZZZZ": "1", "RERANK_CONFIG": "a.yaml", "RERANK_PORT": "1", "PATH": ""}
    assert warnings_about(Settings(), environ) == [
        "RERANK_MAX_BACH is no setting; did you mean RERANK_MAX_BATCH?",
        "RERANK_ZZZZZZ is no setting",
    ]


@pytest.mark.parametrize(("deadline_s", "warned"), [(29.9, False), (30, True), (120, True)])
def test_a_deadline_milvus_does_not_wait_for_is_warned_about(deadline_s: float, *, warned: bool):
    found = warnings_about(Settings(deadline_s=deadline_s), {})
    assert bool(found) == warned
    assert all("RERANK_DEADLINE_S" in warning and "30 s" in warning for warning in found)


def test_keys_come_from_the_setting_and_the_file(tmp_path: Path, monkeypatch: Env):
    keys = tmp_path / "keys"
    keys.write_text("# who may call\n\n search-team : s3:cret \nmilvus:other\n")
    monkeypatch.setenv("RERANK_API_KEYS", "milvus:first,ops:third")
    monkeypatch.setenv("RERANK_API_KEYS_FILE", str(keys))
    assert load().keys == {"milvus": "other", "ops": "third", "search-team": "s3:cret"}


def test_keys_may_be_a_mapping_in_the_file(tmp_path: Path):
    assert load(_written(tmp_path, "api_keys:\n  milvus: s3cret\n")).keys == {"milvus": "s3cret"}


@pytest.mark.parametrize("content", ["", "# only a comment\n", "milvus\n", "milvus:\n", ":secret\n", "a:b\na:c\n"])
def test_a_key_file_that_would_leave_the_gateway_open_or_a_key_out_is_refused(
    tmp_path: Path, monkeypatch: Env, content: str
):
    keys = tmp_path / "keys"
    keys.write_text(content)
    monkeypatch.setenv("RERANK_API_KEYS_FILE", str(keys))
    told = _refused()
    assert told.startswith(f"RERANK_API_KEYS_FILE: {keys}")
    assert "name:secret" in told


@pytest.mark.parametrize("written", ['api_keys: {milvus: ""}', 'worker_api_key: ""'])
def test_an_empty_secret_is_refused(tmp_path: Path, written: str):
    told = _refused(_written(tmp_path, written))
    assert "is empty" in told


@pytest.mark.parametrize("key", ["schl\u00fcssel", "two\nlines", "tab\there"])
def test_a_worker_key_that_no_header_can_carry_is_refused(tmp_path: Path, key: str):
    told = _refused(_written(tmp_path, yaml.safe_dump({"worker_api_key": key})))
    assert told.startswith("RERANK_WORKER_API_KEY")
    assert "printable ASCII" in told
    assert key not in told


def test_parsing_keys_never_shows_a_secret():
    for lines in (["milvus:hush", "hush-alone"], ["a:hush", "a:hush"], [":hush"]):
        with pytest.raises(ValueError, match=r"key|name") as caught:
            parse_keys(lines)
        assert "hush" not in str(caught.value)


HUSH: list[dict[str, Any]] = [
    {"api_keys": {"a": "hush"}, "worker_api_key": "hush"},
    {"api_keys": "a:hush"},
    {"workers": ["http://user:hush@gpu-1:8000", "http://user:hush@gpu-2:8000/v1"]},
    {"redis_url": "rediss://user:hush@cache:6379/0"},
    {"admin_key": "hush"},
]


@pytest.mark.parametrize("written", HUSH)
def test_no_secret_is_ever_shown(tmp_path: Path, written: dict[str, Any]):
    settings = load(_written(tmp_path, yaml.safe_dump(written)))
    shown = [repr(settings), str(settings), json.dumps(settings.shown())]
    assert not any("hush" in text for text in shown)


WRONG_HUSH: list[str] = [
    "api_keys: {a: hush, b: [hush]}",
    "api_keys: [hush]",
    "api_keys: hush",
    "api_keys: 'a:hush,b:hush,a:hush'",
    "worker_api_key: [hush]",
    "worker_api_key: hush\u00e9",
    "admin_key: [hush]",
    "admin_key: hush\nmin_batch: 1000",
    "workers: ['user:hush@gpu-1:8000', 'http://user:hush@[gpu-1', 'ftp://user:hush@gpu-1', 'http://u:hu@hush@:1']",
    "max_batch: many\nworker_api_key: hush\nworkers: ['http://user:hush@gpu-1']",
    "worker_api_key: hush\nworkers: ['http://user:hush@gpu-1']\nmin_batch: 1000",
    "redis_url: [redis://user:hush@cache]",
    "redis_url: redis://user:hu#hush@cache",
    "redis_url: redis://user:hush@cache\nmin_batch: 1000",
    "redis_url: redis://user:hush@cache\napi_keys: 'a:hush'",
    "worker_api_key: *hush",
    "worker_api_key: !hush hush",
    "worker_api_key: 'hush",
    "worker_api_key: hush: hush",
]


@pytest.mark.parametrize("written", WRONG_HUSH)
def test_no_error_shows_a_secret(tmp_path: Path, written: str):
    config = _written(tmp_path, written)
    with pytest.raises(SettingsError) as caught:
        load(config)
    told: BaseException | None = caught.value
    while told:
        assert "hush" not in str(told)
        told = told.__cause__


def test_settings_made_in_code_show_no_secret_when_they_are_wrong():
    with pytest.raises(ValidationError) as caught:
        Settings(api_keys={"a": ["hush"]}, workers={"http://user:hush@gpu-1": 1})
    assert "hush" not in str(caught.value)


def test_shown_settings_are_plain_values(tmp_path: Path):
    settings = load(_written(tmp_path, "workers: http://gpu-1:8000\nmodels: {qwen: {}}\n"))
    assert yaml.safe_load(yaml.safe_dump(settings.shown()))["models"]["qwen"]["truncation"] is None
    assert settings.shown().keys() == Settings.model_fields.keys()


def test_every_setting_says_what_it_takes():
    for name, known in Settings.model_fields.items():
        assert known.description, name


def test_secrets_may_stand_in_files_of_a_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "rerank_worker_api_key").write_text("from-file\n")
    (tmp_path / "rerank_api_keys").write_text("milvus:hush")
    (tmp_path / "rerank_admin_key").write_text("admin-hush\n")
    monkeypatch.setenv("RERANK_SECRETS_DIR", str(tmp_path))
    settings = load()
    assert settings.worker_api_key
    assert settings.worker_api_key.get_secret_value() == "from-file"
    assert settings.keys == {"milvus": "hush"}
    assert settings.admin_keys == {"admin": "admin-hush"}
    monkeypatch.setenv("RERANK_WORKER_API_KEY", "from-environment")
    assert load().worker_api_key == SecretStr("from-environment")
    assert not warnings_about(load())


def test_a_directory_of_secrets_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("RERANK_SECRETS_DIR", str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match=r"RERANK_SECRETS_DIR: .*missing is no directory: name one"):
        load()


@pytest.mark.parametrize("alone", ["TLS_KEY_FILE", "TLS_CLIENT_CA_FILE", "WORKER_KEY_FILE"])
def test_a_key_without_its_certificate_is_refused(monkeypatch: pytest.MonkeyPatch, alone: str):
    monkeypatch.setenv(f"RERANK_{alone}", "/some/file.pem")
    with pytest.raises(SettingsError, match=f"{alone.lower()} says nothing without"):
        load()


@pytest.mark.parametrize("variable", ["RERANK_WORKERS", "RERANK_API_KEYS", "RERANK_HOST", "RERANK_MODELS"])
def test_a_variable_that_is_not_utf_8_is_named(variable: str, monkeypatch: Env):
    # What Python makes of the bytes FF FE.
    monkeypatch.setenv(variable, "\udcff\udcfe")
    assert _refused().startswith(f"{variable} is not text in UTF-8: ")


def test_half_a_character_in_the_file_is_named_by_the_file(tmp_path: Path):
    config = _written(tmp_path, 'workers: "http://\\uD800"\n')
    assert _refused(config).startswith(f"{config} is not text in UTF-8: ")


def test_an_address_with_half_a_character_is_no_url():
    assert problem_with("http://gpu-\udcff:8000") == "is no URL like http://gpu-1:8000"
