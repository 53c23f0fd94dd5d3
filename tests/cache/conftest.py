"""What the tests of the cache share."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog

from app.telemetry import log
from tests.cache.valkey import Valkey, valkey


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """The lines of the log, as they come."""
    log.configure(style="json", level="info")
    with structlog.testing.capture_logs() as lines:
        yield lines
    log.configure(style="json", level="error")


@pytest.fixture
async def server() -> AsyncIterator[Valkey]:
    """A Valkey of the test's own."""
    async with valkey() as running:
        yield running
