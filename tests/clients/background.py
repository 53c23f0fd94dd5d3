"""A gateway for clients that block."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from anyio.from_thread import start_blocking_portal

from tests.fake_vllm import FakeVllm
from tests.running import gateway


@contextmanager
def gateway_in_background(*workers: FakeVllm, **settings: Any) -> Iterator[str]:
    """The URL of a gateway over `workers`, both with a thread and an event loop of their own."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(gateway(*workers, **settings)) as client:
        yield str(client.base_url).rstrip("/")
