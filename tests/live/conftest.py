"""Which real vLLM workers the tests run against."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from tests.live.worker import MODEL, OwnWorker


@pytest.fixture(scope="session")
def workers() -> tuple[str, str]:
    """The URLs of two running workers, started with `vllm/run_worker.sh`."""
    urls = [url.strip() for url in os.environ.get("TEST_VLLM_URLS", "").split(",") if url.strip()]
    if len(urls) < 2:
        _do_without("TEST_VLLM_URLS must hold two vLLM URLs, comma-separated; `make live` sees to that")
    return urls[0], urls[1]


@pytest.fixture(scope="session")
def own_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnWorker]:
    """A worker that tests may kill; each starts it if the one before has left it dead."""
    with killed_at_the_end(tmp_path_factory) as worker:
        yield worker


@pytest.fixture(scope="module")
def coarse_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnWorker]:
    """A worker of the same model in bfloat16."""
    with killed_at_the_end(tmp_path_factory, dtype="bfloat16") as worker:
        yield worker


@contextmanager
def killed_at_the_end(
    places: pytest.TempPathFactory, *, dtype: str = "float32", model: Path = MODEL, flags: Sequence[str] = ()
) -> Iterator[OwnWorker]:
    """A worker that isn't started yet."""
    venv = os.environ.get("TEST_VLLM_VENV")
    if not venv:
        _do_without("TEST_VLLM_VENV must name a venv for vLLM; `make live` sees to that")
    log = places.mktemp("vllm") / "worker.log"
    worker = OwnWorker(Path(venv).resolve(), api_key="s3cret", log=log, dtype=dtype, model=model, flags=flags)
    # As Ctrl-C does: a run that is told to stop still gets to the line after the yield.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield worker
    worker.kill()
    signal.signal(signal.SIGTERM, before)


def _do_without(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
