"""The plain proxy of `bench/peers/plain.py`, served by uvicorn as FastAPI's documentation says."""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from bench.peers.peer import Peer


def plain_command(python: str, workers: Sequence[str], port: int) -> Sequence[str]:
    """What starts it in the virtual environment of `python`."""
    serve = ("-m", "uvicorn", "bench.peers.plain:app", "--host", "127.0.0.1", "--port", str(port))
    return ("env", f"WORKERS={','.join(workers)}", python, *serve)


def _command(workers: Sequence[str], port: int, _: Path) -> Sequence[str]:
    return plain_command(sys.executable, workers, port)


PLAIN = Peer(
    name="plain proxy",
    version=lambda: f"FastAPI {version('fastapi')}, httpx {version('httpx')}",
    command=_command,
    remark=(
        "`bench/peers/plain.py`: 50 lines of FastAPI and httpx. At each lock httpx looks for sniffio; where another "
        "package has brought that, as LiteLLM does, this takes a quarter less"
    ),
)
