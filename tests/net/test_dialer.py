"""Lookups that hang and addresses that are dead, by a resolver that the test tells what to find, on real sockets."""

import asyncio
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import pytest
import uvloop

from app.errors import OutOfFiles, Unreachable
from app.net.dialer import Dialer, is_no_such_name, look_up
from app.workers.vllm import VllmLink
from tests.listening import dead_port

FAILURE = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
NO_SUCH_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Resolver:
    """Stands for the system's: what it finds for each name, and whether it is silent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: dict[str, Sequence[str]] = {}
        self.failure: OSError | None = None
        self.asked: list[str] = []
        self.answers = threading.Event()
        self.answers.set()
        self._of_the_system = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._getaddrinfo)

    def _getaddrinfo(self, host: str, port: int | None, **hints: Any) -> Any:
        if hints.get("flags"):
            return self._of_the_system(host, port, **hints)
        self.asked.append(host)
        if host not in self.addresses or self.failure:
            self.answers.wait()
        if self.failure:
            raise self.failure
        return [found for ip in self.addresses.get(host, ()) for found in self._of_the_system(ip, port, **hints)]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    made = Resolver(monkeypatch)
    yield made
    made.answers.set()


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[Any, Any, None]], None]]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


@contextmanager
def live_port(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port that accepts connections, by the kernel alone."""
    with socket.create_server((host, port), backlog=100) as server:
        yield server.getsockname()[1]


def test_lookups_that_hang_hold_up_no_other(run: Any, resolver: Resolver):
    async def look() -> None:
        resolver.answers.clear()
        resolver.addresses["gpu-1"] = ["10.0.0.1"]
        hanging = [look_up(f"silent-{number}") for number in range(100)]
        async with asyncio.timeout(10):
            assert [place[0] for *_, place in await look_up("gpu-1")] == ["10.0.0.1"]
        assert not any(lookup.done() for lookup in hanging)
        # What else the loop has threads for goes on as well.
        async with asyncio.timeout(10):
            assert await asyncio.to_thread(lambda: 1) == 1
        resolver.answers.set()
        await asyncio.gather(*hanging)

    run(look())


def test_however_many_wait_for_a_name_it_is_looked_up_once_at_a_time(run: Any, resolver: Resolver):
    async def look() -> None:
        with live_port() as port:
            dialer = Dialer("gpu-1", port)
            resolver.answers.clear()
            calls = [asyncio.create_task(dialer.connect()) for _ in range(50)]
            await asyncio.sleep(0.05)
            calls.pop().cancel()
            assert resolver.asked == ["gpu-1"]
            resolver.addresses["gpu-1"] = ["127.0.0.1"]
            resolver.failure = None
            resolver.answers.set()
            for sock in await asyncio.gather(*calls):
                sock.close()
            (await dialer.connect()).close()
            assert resolver.asked == ["gpu-1"] * 2

    run(look())


def test_a_dead_address_hides_no_live_one(run: Any, resolver: Resolver):
    async def connect() -> None:
        with dead_port("127.0.0.2") as port, live_port(port=port):
            resolver.addresses["gpu-1"] = ["127.0.0.2", "127.0.0.1"]
            began = perf_counter()
            async with asyncio.timeout(10):
                sock = await Dialer("gpu-1", port).connect()
            assert perf_counter() - began >= 0.2, "the first address had its time"
            assert sock.getpeername() == ("127.0.0.1", port)
            sock.close()

    run(connect())


def test_an_address_that_refuses_is_passed_over_at_once(run: Any, resolver: Resolver):
    async def connect() -> None:
        with live_port() as port:
            resolver.addresses["gpu-1"] = ["127.0.0.2", "::1", "127.0.0.1"]
            sock = await Dialer("gpu-1", port).connect()
            assert sock.getpeername() == ("127.0.0.1", port)
            sock.close()
        with pytest.raises(ConnectionRefusedError):
            await Dialer("gpu-1", port).connect()

    run(connect())


# glibc gives no reason when it has no file to ask a name server with; without the hosts file a name may not exist.
@pytest.mark.parametrize("failure", [OSError(0, "Error"), NO_SUCH_NAME, FAILURE], ids=["no reason", "no name", "again"])
def test_a_lookup_that_fails_for_want_of_files_is_told_as_such(run: Any, resolver: Resolver, failure: OSError):
    async def connect() -> None:
        link = VllmLink("http://gpu-1:8000")
        resolver.failure = failure
        with no_file_left(), pytest.raises(OutOfFiles):
            await link.identify()
        with pytest.raises(Unreachable):
            await link.identify()
        await link.close()

    run(connect())


@contextmanager
def no_file_left() -> Iterator[None]:
    """Nobody in this process can open a file until the end of the block."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    first_free = os.dup(0)
    os.close(first_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("failure", [None, FAILURE], ids=["silent", "failing"])
def test_while_name_servers_say_nothing_the_addresses_found_last_stay_in_use(
    run: Any, resolver: Resolver, failure: OSError | None
):
    async def connect() -> None:
        with live_port() as port:
            dialer = Dialer("gpu-1", port)
            resolver.addresses["gpu-1"] = ["127.0.0.1"]
            (await dialer.connect()).close()
            del resolver.addresses["gpu-1"]
            resolver.failure = failure
            if not failure:
                resolver.answers.clear()
            async with asyncio.timeout(10):
                (await dialer.connect()).close()
            began = perf_counter()
            for _ in range(10):
                (await dialer.connect()).close()
            assert perf_counter() - began < 0.9, "nobody waits for a lookup that has taken too long already"

    run(connect())


def test_a_name_that_is_gone_is_gone(run: Any, resolver: Resolver):
    async def connect() -> None:
        with live_port() as port:
            dialer = Dialer("gpu-1", port)
            resolver.addresses["gpu-1"] = ["127.0.0.1"]
            (await dialer.connect()).close()
            resolver.failure = NO_SUCH_NAME
            with pytest.raises(socket.gaierror) as caught:
                await dialer.connect()
            assert is_no_such_name(caught.value)

    run(connect())


async def test_a_worker_whose_name_server_is_silent_is_told_so(resolver: Resolver):
    resolver.answers.clear()
    link = VllmLink("http://gpu-1:8000", connect_timeout_s=0.05)
    with pytest.raises(Unreachable, match="gpu-1:8000 can't be looked up: no name server answered in "):
        await link.identify()
    await link.close()


@pytest.mark.parametrize("name", ["gpu..1", "x" * 64, "gpu\0"])
async def test_what_can_be_no_name_is_no_such_name(name: str):
    with pytest.raises(socket.gaierror) as caught:
        await look_up(name)
    assert is_no_such_name(caught.value)


def test_a_lookup_under_way_keeps_no_process_from_ending():
    code = (
        "import asyncio, socket, time\n"
        "from app.net.dialer import Dialer\n"
        "of_the_system = socket.getaddrinfo\n"
        "def hang(*args, **hints): return of_the_system(*args, **hints) if hints['flags'] else time.sleep(60)\n"
        "socket.getaddrinfo = lambda *args, flags=0, **hints: hang(*args, flags=flags, **hints)\n"
        "async def wait():\n"
        "    async with asyncio.timeout(0.1):\n"
        "        await Dialer('gpu-1', 80).connect()\n"
        "try: asyncio.run(wait())\n"
        "except TimeoutError: print('gave up')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("gave up\n", "")
