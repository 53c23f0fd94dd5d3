"""What holds for every test."""

import os

import pytest

from app.telemetry import log


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `RERANK_` variable of the developer's shell would change what is tested."""
    for name in list(os.environ):
        if name.startswith("RERANK_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="session")
def _quiet_logs() -> None:
    log.configure(style="json", level="error")
