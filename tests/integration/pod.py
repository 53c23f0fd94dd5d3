"""What DNS does in a pod: `python -m tests.integration.pod ETC PART`, in namespaces of its own.

The files in the folder ETC replace those of /etc. It makes a name server for itself, looks names up, and lets workers
come and go behind one while requests are made.
"""

import asyncio
import fcntl
import json
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvloop

from app.main import create_app
from app.settings import Settings
from app.telemetry import log
from app.workers.discovery.dns import addresses_of
from tests.awake import awake_clock
from tests.fake_dns import FakeDns
from tests.fake_vllm import FakeVllm
from tests.running import rerank, serving, until_ready
from tests.waiting import until

HOME = "default.svc.cluster.local"
RESOLV_CONF = (
    f"nameserver 127.0.0.1\nsearch {HOME} svc.cluster.local cluster.local\noptions ndots:5 timeout:1 attempts:1\n"
)
NAMES = ("vllm", f"vllm.{HOME}", f"vllm.{HOME}.", "vllm.other", "hub.example", "hosted", "many", "gone", "empty")
FAILING = ("broken", "silent")
SILENT = [f"silent{number}" for number in range(8)]
_SET_FLAGS, _UP_AND_RUNNING = 0x8914, 0x41


def main() -> None:
    """Print what one part finds out, as JSON."""
    etc, part = sys.argv[1:]
    _bring_up_loopback()
    for replacement in Path(etc).iterdir():
        subprocess.run(["mount", "--bind", replacement, Path("/etc") / replacement.name], check=True)
    log.configure(style="json", level="error")
    parts = {
        "asyncio": _look_up_all,
        "uvloop": _look_up_all,
        "served": _serve,
        "beside silence": _serve_beside_silence,
        "in silence": _serve_in_silence,
    }
    with asyncio.Runner(loop_factory=None if part == "asyncio" else uvloop.new_event_loop) as runner:
        sys.stdout.write(json.dumps(runner.run(parts[part]())))


def _bring_up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP_AND_RUNNING))


async def _look_up_all() -> dict[str, list[str] | None]:
    """The addresses of every name; None where nobody could say."""
    records = {
        f"vllm.{HOME}": ["10.0.0.1", "10.0.0.2", "fd00::1"],
        "vllm.other.svc.cluster.local": ["10.0.0.3"],
        "hub.example": ["192.0.2.1"],
        f"many.{HOME}": [f"10.0.1.{number}" for number in range(100)],
        f"empty.{HOME}": [],
    }
    found: dict[str, list[str] | None] = {}
    async with FakeDns(records, broken=[f"broken.{HOME}"], silent=["silent"]).running():
        for name in NAMES + FAILING:
            try:
                found[name] = sorted(await addresses_of(name))
            except OSError:
                found[name] = None
    return found


async def _serve() -> dict[str, Any]:
    """Workers join and leave behind a name: how requests fared, and who got calls."""
    dns = FakeDns({f"vllm.{HOME}": ["127.0.0.2", "127.0.0.3"]})
    workers = {f"127.0.0.{number}": FakeVllm(fixed_s=0.01) for number in (2, 3, 4)}
    statuses: list[int] = []
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(dns.running())
        for host, worker in workers.items():
            await stack.enter_async_context(worker.running(8000, host))
        client = await stack.enter_async_context(_gateway("dns://vllm:8000"))
        asking = asyncio.create_task(_keep_asking(client, statuses))
        await until(lambda: workers["127.0.0.2"].scored and workers["127.0.0.3"].scored)
        early = len(workers["127.0.0.4"].scored)
        dns.records[f"vllm.{HOME}"] = ["127.0.0.3", "127.0.0.4"]
        await until(lambda: workers["127.0.0.4"].scored)
        left_with = len(workers["127.0.0.2"].scored)
        asked = len(statuses)
        await until(lambda: len(statuses) > asked + 50)
        late = len(workers["127.0.0.2"].scored) - left_with
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    return {"statuses": sorted(set(statuses)), "before it joined": early, "after it left": late}


async def _serve_beside_silence() -> dict[str, Any]:
    """Seven workers, a DNS source and a Redis have silent name servers: how a worker with another name fared."""
    dns = FakeDns({f"vllm.{HOME}": ["127.0.0.2"]}, silent=SILENT)
    hanging, redis, source = SILENT[:6], SILENT[6], SILENT[7]
    workers = [f"http://{name}:8000" for name in (*hanging, "vllm")]
    with awake_clock() as clock:
        began = clock()
        async with (
            dns.running(),
            FakeVllm().running(8000, "127.0.0.2"),
            _gateway(*workers, f"dns://{source}:8000", cache=True, redis_url=f"redis://{redis}:6379") as client,
        ):
            ready_s = clock() - began
            statuses, slowest_s = await _ask_on_new_connections(client)
    return {"statuses": statuses, "slowest_s": slowest_s, "ready_s": ready_s, "asked": sorted({*SILENT} & _firsts(dns))}


async def _serve_in_silence() -> dict[str, Any]:
    """The name server falls silent after it has told where the only worker is."""
    dns = FakeDns({f"vllm.{HOME}": ["127.0.0.2"]})
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(dns.running())
        await stack.enter_async_context(FakeVllm().running(8000, "127.0.0.2"))
        client = await stack.enter_async_context(_gateway("http://vllm:8000", probe_interval_s=0.2))
        dns.fall_silent()
        statuses, slowest_s = await _ask_on_new_connections(client)
    return {"statuses": statuses, "slowest_s": slowest_s}


async def _ask_on_new_connections(client: httpx.AsyncClient) -> tuple[list[int], float]:
    """How requests fare that each need a connection to a worker of their own."""
    statuses, slowest_s = set(), 0.0
    with awake_clock() as clock:
        for turn in range(2):
            began = clock()
            # Those at once need one each, and by the next round all have been idle for too long.
            answers = await asyncio.gather(*(rerank(client, [f"document {turn}.{number}"]) for number in range(5)))
            slowest_s = max(slowest_s, clock() - began)
            statuses |= {answer.status_code for answer in answers}
            await asyncio.sleep(2.6)
    return sorted(statuses), slowest_s


def _firsts(dns: FakeDns) -> set[str]:
    return {name.partition(".")[0] for name in dns.asked}


@asynccontextmanager
async def _gateway(*workers: str, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    chosen = {"cache": False, "max_batch": 4, "min_batch": 1} | settings
    app = create_app(Settings(workers=workers, **chosen))
    async with serving(app) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        await until_ready(client)
        yield client


async def _keep_asking(client: httpx.AsyncClient, statuses: list[int]) -> None:
    while True:
        answer = await rerank(client, [f"document {number}" for number in range(20)])
        statuses.append(answer.status_code)


if __name__ == "__main__":
    main()
