"""The `rerank-gateway` command."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import structlog
import typer
import yaml

from app import __version__
from app.api.auth import Keys
from app.main import create_app
from app.server import open_files
from app.server.reload import Reload
from app.server.run import Drain, serve
from app.server.signals import Signals
from app.settings import CLIENT_KEY, Settings, SettingsError, load, warnings_about
from app.settings.addresses import problem_with, scheme_of, without_password
from app.settings.certificates import Certificates
from app.telemetry import log

cli = typer.Typer(no_args_is_help=True, add_completion=False, help="A rerank gateway in front of vLLM workers.")
Config = Annotated[
    Path | None, typer.Option("--config", envvar="RERANK_CONFIG", help="YAML file; the environment wins over it.")
]


@cli.command("serve")
def serve_command(config: Config = None) -> None:
    """Serve until SIGTERM."""
    signals = Signals()
    _serve(_load(config), partial(load, config), signals)


@cli.command()
def check_config(config: Config = None) -> None:
    """Print the effective settings without secrets, or what is wrong with them."""
    settings = _load(config)
    _certificates(settings)
    for warning in warnings_about(settings):
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(yaml.safe_dump(settings.shown(), sort_keys=False), nl=False)


@cli.command()
def demo(config: Config = None) -> None:
    """Serve over the embedded worker, and show a first ranking."""
    # Not imported where it isn't needed: serving starts sooner without it.
    from app.tools.demo import show_ranking  # noqa: PLC0415

    signals = Signals()
    settings = _load(config)
    threading.Thread(target=show_ranking, args=(settings,), daemon=True).start()
    _serve(settings.model_copy(update={"log_format": "console"}), partial(load, config), signals)


@cli.command()
def doctor(
    url: Annotated[
        str | None, typer.Argument(help="The endpoint as Milvus has it; without it, where the settings listen.")
    ] = None,
    *,
    key: Annotated[str | None, typer.Option(envvar=CLIENT_KEY, help="The API key; one in the URL goes first.")] = None,
    worker: Annotated[
        list[str] | None, typer.Option(help="A worker, or where to find some, as in RERANK_WORKERS; repeatable.")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Take the endpoint's certificate as it is.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Wait past the 90 s that Milvus keeps idle connections.")
    ] = False,
    timeout_ms: Annotated[
        int, typer.Option(min=1000, help="What Milvus waits for one call; 3.0 has a timeout_ms of its own.")
    ] = 30000,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    config: Config = None,
) -> None:
    """Say why a Milvus search fails: replay its requests, examine the workers, name the fix of each problem.

    Takes up to 30 s, with --full two minutes. Ends with 0 when nothing is red, with 1 when something is.
    """
    # As above.
    from app.tools.doctor.command import run  # noqa: PLC0415
    from app.tools.doctor.options import FULL_IDLE_S, SHORT_IDLE_S, Options  # noqa: PLC0415

    settings = _load(config)
    _certificates(settings)
    for address in (*([url] if url else []), *(worker or [])):
        _check_address(address, is_worker=address != url)
    options = Options(
        url=url or settings.own_url,
        key=key or (None if url else next(iter(settings.keys.values()), None)),
        workers=tuple(worker or ()),
        settings=settings,
        knows_settings=url is None or bool(settings.model_fields_set),
        # The gateway's own certificate names its public host, not this machine.
        trusts_all=insecure or url is None,
        milvus_timeout_s=timeout_ms / 1000,
        idle_s=FULL_IDLE_S if full else SHORT_IDLE_S,
    )
    raise typer.Exit(run(options, prints_json=json))


@cli.command()
def verify(
    config: Config = None,
    worker: Annotated[list[str] | None, typer.Option(help="A worker's URL, instead of those in the settings.")] = None,
    model: Annotated[str | None, typer.Option(help="The model, when the workers serve several.")] = None,
    sample: Annotated[
        Path | None,
        typer.Option(help='JSONL with {"query": ..., "documents": [...]} per line, instead of the built-in.'),
    ] = None,
    images: Annotated[bool, typer.Option("--images", help="Take pictures, for a model that reads them.")] = False,  # noqa: FBT002 - an option
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,  # noqa: FBT002 - an option
) -> None:
    """Tell whether splitting changes the ranking on a model, and how many documents a call should have.

    Ends with 0 when splitting is safe, with 1 when something has to be done, with 2 when it couldn't be found out.
    """
    # As above.
    from app.tools.verify.command import run  # noqa: PLC0415

    settings = _load(config)
    if worker:
        settings = settings.model_copy(update={"workers": tuple(worker)})
    raise typer.Exit(run(settings, model=model, sample_file=sample, images=images, prints_json=as_json))


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _serve(settings: Settings, read: Callable[[], Settings], signals: Signals) -> None:
    """Serve with `settings`; at SIGHUP `read` loads them again.

    `signals` were set up before the settings were read, so that no signal is lost in between.
    """
    open_files.raise_limit()
    log.configure(style=settings.log_format, level=settings.log_level)
    log.take_uncaught()
    for warning in warnings_about(settings):
        structlog.get_logger().warning("settings", warning=warning)
    certificates = _certificates(settings)
    drain, keys, admin_keys = Drain(), Keys(settings.keys), Keys(settings.admin_keys)
    app = create_app(settings, drain=drain, keys=keys, admin_keys=admin_keys, certificates=certificates)
    reload = Reload(read, settings, keys=keys, admin_keys=admin_keys, certificates=certificates)
    serve(app, settings, drain=drain, tls=certificates.listening, reload=reload, signals=signals)


def _load(config: Path | None) -> Settings:
    with _ends_with_2():
        return load(config)


def _certificates(settings: Settings) -> Certificates:
    with _ends_with_2():
        return Certificates(settings)


@contextmanager
def _ends_with_2() -> Iterator[None]:
    """Exit with 2 and the message when settings are wrong in the block."""
    try:
        yield
    except SettingsError as exc:
        typer.echo(str(exc), err=True)
        raise typer.Exit(2) from None


def _check_address(address: str, *, is_worker: bool) -> None:
    """Exit with 2 and a message when an address is malformed."""
    problem = problem_with(address)
    if not is_worker and scheme_of(address) not in {"http", "https"}:
        problem = "is no URL like http://gateway:8080"
    if problem:
        typer.echo(f"{without_password(address)} {problem}", err=True)
        raise typer.Exit(2)
