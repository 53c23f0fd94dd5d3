"""The doctor: examines a gateway (or another server in its place) as Milvus calls it, and its workers."""

import asyncio
import ssl
from collections.abc import Awaitable
from dataclasses import replace
from urllib.parse import urlsplit

from app.settings.certificates import Certificates, default_context
from app.tools.discover import discover
from app.tools.doctor import limits, milvus
from app.tools.doctor.agreement import check_agreement
from app.tools.doctor.answer_checks import Asked
from app.tools.doctor.findings import CHECKS, Finding, Findings
from app.tools.doctor.options import SHORT_IDLE_S, Options
from app.tools.doctor.server_client import ServerClient
from app.tools.doctor.target import Target, check_path, check_trust, identify
from app.tools.doctor.worker_checks import Worker, examine
from app.workers.connect import connect
from app.workers.vllm import VllmLink

__all__ = ["CHECKS", "Finding", "Findings", "Options", "diagnose"]

_REQUESTS = ("milvus-2.6.0", "milvus-3.0", "milvus-truncate", "milvus-tei", *CHECKS["Answers"][:-2])
_DISCOVERY_S = 4.0


async def diagnose(options: Options) -> Findings:
    """All findings, within half a minute, or longer when an idle connection is watched for longer.

    Raises:
        SettingsError: a file with certificates can't be used.
    """
    until = asyncio.get_running_loop().time() + options.limit_s + max(0.0, options.idle_s - SHORT_IDLE_S)
    found = Findings()
    if options.knows_settings:
        limits.check_deadline(options.settings, found, milvus_s=options.milvus_timeout_s)
    # Milvus puts its own path in place of the endpoint's.
    url = urlsplit(options.url)._replace(path="", fragment="").geturl()
    client = ServerClient(url, key=options.key, tls=_trusted(options))
    try:
        target = await identify(client, found)
        if target is None:
            await _examine_workers(options, found, until)
        else:
            # Nothing disturbs a connection that does nothing.
            idling = limits.check_keep_alive(target, found, idle_s=options.idle_s)
            await asyncio.gather(
                found.within(until, ("keep-alive",), idling), _examine_target(options, target, found, until)
            )
    finally:
        client.close()
    return found


async def _examine_target(options: Options, target: Target, found: Findings, until: float) -> None:
    """Examine the endpoint: quick checks at once, then one by one those that load the workers or measure time."""
    path = urlsplit(options.url).path
    check_path(path, found)
    check_trust(target.client, found, trusts_all=options.trusts_all)
    if target.kind == "vllm" and not (options.workers or options.settings.workers):
        found.green("workers-found", "vLLM itself is the worker")
        options = replace(options, workers=(options.url,))
    first = await milvus.check_first(target, found)
    quick = _quick_checks(target, first, path, found, until) if first else []
    await asyncio.gather(_examine_workers(options, found, until), *quick)
    if first is None:
        return
    await found.within(until, ("time",), limits.check_time(target, found, milvus_s=options.milvus_timeout_s))
    await found.within(until, ("documents",), limits.check_documents(target, found))
    await found.within(until, ("body",), limits.check_body(target, found))


def _quick_checks(target: Target, first: Asked, path: str, found: Findings, until: float) -> list[Awaitable[None]]:
    table = (
        (_REQUESTS, milvus.check_requests(target, first, found)),
        (("milvus-voyageai",), milvus.check_voyageai(target, first, path, found)),
        (("order",), milvus.check_order(target, first, found)),
        (("trailing-slash",), milvus.check_trailing_slash(target, found)),
        (("error-body", "unknown-model"), milvus.check_errors(target, found)),
        (CHECKS["Key"], milvus.check_keys(target, found)),
    )
    return [found.within(until, checks, work) for checks, work in table]


async def _examine_workers(options: Options, found: Findings, until: float) -> None:
    workers = await _workers_of(options, found)
    try:
        for own in await asyncio.gather(*(examine(worker, options, until=until) for worker in workers)):
            found.take(own)
    finally:
        for worker in workers:
            worker.client.close()
            await worker.link.close()
    check_agreement(workers, options.settings.default_model, found)


async def _workers_of(options: Options, found: Findings) -> list[Worker]:
    """All workers: those named, and those that sources discover now; the embedded one needs no examination."""
    entries = options.workers or options.settings.workers
    if not entries:
        fix = "add --worker URL, or run it with the gateway's settings"
        found.yellow("workers-found", "none is named here, so none was examined", fix)
        return []
    urls: list[str] = []
    for source in await discover(entries, limit_s=_DISCOVERY_S):
        urls += source.endpoints
        if source.endpoints:
            count = len(source.endpoints)
            name = "--worker" if options.workers and source.name == "RERANK_WORKERS" else source.name
            found.green("workers-found", f"{name} has {count} worker{'' if count == 1 else 's'}")
        else:
            fix = "run it where the gateway runs (kubectl exec, docker exec), or name workers by --worker"
            found.yellow("workers-found", source.problem, fix)
    tls = Certificates(options.settings).towards_workers
    links = [connect(url, options.settings, tls) for url in dict.fromkeys(urls)]
    return [
        Worker(link, ServerClient(link.url, tls=tls), options.settings) for link in links if isinstance(link, VllmLink)
    ]


def _trusted(options: Options) -> ssl.SSLContext:
    """The TLS context for calls to the endpoint."""
    context = Certificates(options.settings).towards_workers or default_context()
    if options.trusts_all:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
