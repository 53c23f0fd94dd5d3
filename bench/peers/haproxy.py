"""HAProxy: what passing bytes on costs at least. It knows nothing of reranking."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.peers.peer import Peer, debian

_CONFIGURATION = """\
global
    nbthread 1
    maxconn 1024
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
frontend clients
    bind 127.0.0.1:{port}
    default_backend workers
backend workers
    balance leastconn
    http-reuse always
{servers}
"""


def _command(workers: Sequence[str], port: int, directory: Path) -> Sequence[str]:
    servers = "\n".join(
        f"    server worker{number} {worker.removeprefix('http://')}" for number, worker in enumerate(workers)
    )
    written = directory / "haproxy.cfg"
    written.write_text(_CONFIGURATION.format(servers=servers, port=port))
    return ("haproxy", "-db", "-f", str(written))


HAPROXY = Peer(
    name="haproxy",
    version=partial(debian, "haproxy"),
    command=_command,
    remark="passes bytes on: the limit of what a proxy can save",
)
