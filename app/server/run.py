"""The run of the server: uvicorn, with a drain before it stops accepting connections."""

import asyncio
import gc
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import ceil
from typing import Any

import structlog
import uvicorn
import uvloop
from starlette.types import ASGIApp

from app import __version__
from app.server.all_addresses import ALL, bound_to_all
from app.server.protocol import BoundedProtocol
from app.server.signals import Signals
from app.settings import Settings

# Requests in flight end at their own deadline; this is added for their answers to be sent.
_LAST_WORDS_S = 2
# Time to read what clients sent before the server stopped accepting connections.
_LAST_READS_S = 0.05
# Shortest time between reloads: each blocks the event loop for some milliseconds.
_RELOADS_APART_S = 0.1
_ADVICE = "free the address, or choose another with RERANK_HOST and RERANK_PORT"


class Drain:
    """The state of the drain: `has_begun` once the gateway is about to stop."""

    def __init__(self) -> None:
        self.has_begun = False


class DrainingServer(uvicorn.Server):
    """Uvicorn's server that goes on serving for `drain_s` after SIGTERM.

    So load balancers see it become unready before it stops accepting connections. SIGINT skips that wait; a second
    signal of either kind also stops the wait for requests in flight. SIGHUP calls `reload`, at most once per
    `_RELOADS_APART_S`.
    """

    def __init__(self, config: uvicorn.Config, *, drain: Drain, drain_s: float, reload: Callable[[], None]) -> None:
        super().__init__(config)
        self._reload = reload
        self._reload_timer: asyncio.TimerHandle | None = None
        self._drain = drain
        self._drain_s = drain_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and log that the gateway serves once it does.

        Raises:
            SystemExit: with 1 when it can't start; uvicorn has logged the reason, but not what to do about it.
        """
        log = structlog.get_logger().bind(host=self.config.host, port=self.config.port)
        if self.config.host == ALL:
            try:
                sockets = [bound_to_all(self.config.port)]
            except OSError as exc:
                log.error("not_serving", reason=exc.strerror, advice=_ADVICE)  # noqa: TRY400 - a trace would tell nothing
                raise SystemExit(1) from None
        with suppress(SystemExit):
            await super().startup(sockets)
        if not self.started:
            log.error("not_serving", advice=_ADVICE)
            raise SystemExit(1)
        log.info("serving", version=__version__)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, and always shut the application down, which uvicorn leaves out after a second signal.

        What clients have sent is read first, since connections on which no request has begun are closed.
        """
        for server in self.servers:
            server.close()
        await asyncio.sleep(_LAST_READS_S)
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals: uvicorn's own way raises them again at the end, and the process wouldn't exit with 0."""
        yield

    def take(self, sig: signal.Signals) -> None:
        """Act on SIGTERM, SIGINT or SIGHUP."""
        if sig != signal.SIGHUP:
            self._stop(sig)
        elif self._reload_timer is None:
            self._reload_timer = asyncio.get_running_loop().call_later(_RELOADS_APART_S, self._reload_once)

    def _reload_once(self) -> None:
        self._reload_timer = None
        self._reload()

    def _stop(self, sig: signal.Signals) -> None:
        if self._drain.has_begun:
            self.should_exit = self.force_exit = True
            return
        self._drain.has_begun = True
        # Before it serves, there are no clients to drain.
        wait_s = self._drain_s if sig == signal.SIGTERM and self.started else 0
        structlog.get_logger().info("draining", signal=sig.name, accepts_for_s=wait_s)
        asyncio.get_running_loop().call_later(wait_s, self._stop_accepting)

    def _stop_accepting(self) -> None:
        self.should_exit = True


def serve(
    app: ASGIApp,
    settings: Settings,
    *,
    drain: Drain,
    tls: ssl.SSLContext | None,
    reload: Callable[[], None],
    signals: Signals,
) -> None:
    """Serve until a signal comes; returns when everything in flight has been answered.

    Args:
        app: The application.
        settings: Address and time limits.
        drain: Marked when the drain begins.
        tls: The context for listening; None serves without TLS.
        reload: Called at SIGHUP.
        signals: Taken since before the settings were read.

    Raises:
        SystemExit: with 1 when the address can't be listened on.
    """
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        timeout_keep_alive=settings.keep_alive_s,
        # A request counts from the first byte of its head, which may still be incomplete.
        timeout_graceful_shutdown=ceil(BoundedProtocol.head_s + settings.deadline_s) + _LAST_WORDS_S,
        access_log=False,
        # No other protocol is spoken, whatever is installed.
        ws="none",
        # Who is behind a proxy makes no difference here.
        proxy_headers=False,
        log_config=None,
        server_header=False,
        http=BoundedProtocol,
        ssl_context_factory=(lambda *_: tls) if tls else None,
    )
    server = DrainingServer(config, drain=drain, drain_s=settings.drain_s, reload=reload)
    _collect_rarely()
    with (
        asyncio.Runner(loop_factory=_Loop) as runner,
        signals.told_to(server.take, runner.get_loop()),
    ):
        runner.run(server.serve())
    structlog.get_logger().info("stopped")


class _Loop(uvloop.Loop):
    """Event loop on which a TLS handshake may take as long as a head; uvicorn leaves it the default, 60 s."""

    async def create_server(self, *args: Any, **options: Any) -> Any:
        if options.get("ssl"):
            options["ssl_handshake_timeout"] = BoundedProtocol.head_s
        return await super().create_server(*args, **options)


def _collect_rarely() -> None:
    """Make garbage collection rare, and exempt all objects that exist by now from it (decision 0013).

    A request leaves no reference cycles behind, and going through the objects of the start would block the event loop
    for 25 ms.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
