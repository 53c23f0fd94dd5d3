"""The check of how long idle connections are kept."""

import asyncio
from contextlib import suppress

from app.tools.doctor.findings import Findings
from app.tools.doctor.options import FULL_IDLE_S
from app.tools.doctor.server_client import NoAnswer, ServerClient
from app.tools.doctor.target import Target

# The gateway closes an idle connection to a worker after 2.5 s.
WORKER_IDLE_S = 3.0


async def check_keep_alive(target: Target, found: Findings, *, idle_s: float) -> None:
    """Check that the server keeps idle connections for longer than Milvus, which else loses a try and a second."""
    closed_s = await _closed_after_s(target.client, idle_s)
    if closed_s is None:
        more = "" if idle_s >= FULL_IDLE_S else "; --full waits past the 90 s of Milvus"
        found.green("keep-alive", f"an idle connection is open after {idle_s:g} s{more}")
        return
    if target.kind == "vllm":
        fix = "start vLLM with VLLM_HTTP_TIMEOUT_KEEP_ALIVE=120, or put the gateway in front"
    else:
        fix = "set RERANK_KEEP_ALIVE_S above 90, and that of proxies before it (nginx: keepalive_timeout 120s)"
    seen = (
        f"an idle connection is closed after {closed_s:.1f} s: Milvus uses it again for up to 90, fails, pauses for 1 s"
    )
    found.yellow("keep-alive", seen, fix)


async def check_worker_keep_alive(client: ServerClient, found: Findings, *, idle_s: float) -> None:
    """Check that a worker keeps idle connections for longer than the gateway does."""
    closed_s = await _closed_after_s(client, idle_s)
    if closed_s is None:
        found.green("worker-keep-alive", f"{client.name} keeps idle connections for {idle_s:g} s and more")
        return
    found.yellow(
        "worker-keep-alive",
        f"{client.name} closes idle connections after {closed_s:.1f} s; the gateway uses them for 2.5",
        "start vLLM with VLLM_HTTP_TIMEOUT_KEEP_ALIVE=5 or more, and raise the idle time of proxies on the way",
    )


async def _closed_after_s(client: ServerClient, wait_s: float) -> float | None:
    """The seconds until an idle connection is closed; None when it is still open after `wait_s`."""
    is_secure = client.url.scheme == "https"
    port = client.url.port or (443 if is_secure else 80)
    try:
        reader, writer = await asyncio.open_connection(client.url.host, port, ssl=client.tls if is_secure else None)
    except OSError as exc:
        raise NoAnswer("refused", f"{client.name} accepts no connection") from exc
    try:
        writer.write(b"GET /version HTTP/1.1\r\nHost: %s\r\n\r\n" % client.url.netloc)
        return await _silent_until_closed_s(reader, wait_s)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _silent_until_closed_s(reader: asyncio.StreamReader, wait_s: float) -> float | None:
    """The seconds from the last byte of the answer until the close; None when it is still open after `wait_s`."""
    loop = asyncio.get_running_loop()
    heard = loop.time()
    try:
        while True:
            async with asyncio.timeout(wait_s):
                if not await reader.read(2**16):
                    return loop.time() - heard
            heard = loop.time()
    except ConnectionError:
        return loop.time() - heard
    except TimeoutError:
        return None
