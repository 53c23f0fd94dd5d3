"""What all peers have in common: a version, a command over given workers, and a route that reranks."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.processes import MEASURED_CORES, Server, serving
from tests.integration.commands import free_port

PEERS_VENV = Path(__file__).parents[2] / ".venv-peers"
# LiteLLM takes 12 s on a quiet machine, most of it for imports.
_PATIENCE_S = 120.0
_INSTALL_S = 300.0


class NotInstalled(Exception):
    """A peer that isn't here, and what would bring it."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A server that reranks over the same workers as the gateway.

    Attributes:
        name: What the tables call it.
        version: Gives its version; raises NotInstalled.
        command: Gives what starts it, from the workers' URLs, its port and a directory for its configuration.
        ready: The path that answers 200 once it serves.
        path: The route that reranks.
        headers: What its callers must send.
        environment: Variables it needs.
        remark: What the reader of a table must know.
    """

    name: str
    version: Callable[[], str]
    command: Callable[[Sequence[str], int, Path], Sequence[str]]
    ready: str = "/health"
    path: str = "/rerank"
    headers: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""

    @asynccontextmanager
    async def serving(self, workers: Sequence[str]) -> AsyncIterator[Server]:
        """The peer over these workers, on the measured core, until the end of the block.

        Raises:
            NotServing: it didn't come up.
        """
        port = free_port()
        with TemporaryDirectory() as directory:
            command = self.command(workers, port, Path(directory))
            async with serving(
                command,
                port=port,
                cores=MEASURED_CORES,
                ready=self.ready,
                patience_s=_PATIENCE_S,
                environment=self.environment,
            ) as server:
                yield server


def packaged(name: str) -> Callable[[], str]:
    """The version of a package in the peers' own virtual environment."""

    def version() -> str:
        found = sorted(PEERS_VENV.glob(f"lib/python*/site-packages/{name.replace('-', '_')}-*.dist-info"))
        if not found:
            raise NotInstalled("run `make bench-peers`")
        return found[0].name.removesuffix(".dist-info").partition("-")[2]

    return version


@cache
def debian(package: str) -> str:
    """The version of a Debian package's program of the same name; root gets it installed when it is missing.

    Raises:
        NotInstalled: it isn't there, and can't be had.
    """
    if not shutil.which(package):
        _install(package)
    said = subprocess.run([package, "-v"], capture_output=True, text=True, check=True)  # noqa: S603 - our own names
    return next(word for word in (said.stdout + said.stderr).replace("/", " ").split() if word[:1].isdigit())


def _install(package: str) -> None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NotInstalled(f"install {package}, or let root run this on Debian")
    # Only the program is wanted: no service is to begin listening.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "SYSTEMD_OFFLINE": "1"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-qq", "--no-install-recommends", package]):
        try:
            subprocess.run(command, env=environment, capture_output=True, timeout=_INSTALL_S, check=True)  # noqa: S603
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as exc:
            raise NotInstalled(f"{' '.join(command)} failed") from exc
