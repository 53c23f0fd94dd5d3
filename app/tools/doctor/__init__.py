"""The doctor: examines a gateway (or another server in its place) as Milvus calls it, and its workers."""

import asyncio
import ssl
from contextlib import closing
from dataclasses import replace
from urllib.parse import urlsplit

from app.settings.certificates import Certificates, default_context
from app.tools.discover import discover
from app.tools.doctor import limits, milvus
from app.tools.doctor.agreement import check_agreement
from app.tools.doctor.findings import CHECKS, Finding, Findings
from app.tools.doctor.options import SHORT_IDLE_S, Options
from app.tools.doctor.server_client import ServerClient
from app.tools.doctor.target import Target, check_path, check_trust, identify
from app.tools.doctor.worker_checks import Worker, examine
from app.workers.call_ids import CallIds
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
    limit_s = options.limit_s + max(0.0, options.idle_s - SHORT_IDLE_S)
    found = Findings(until=asyncio.get_running_loop().time() + limit_s)
    if options.knows_settings:
        limits.check_deadline(options.settings, found, milvus_s=options.milvus_timeout_s)
    # Milvus puts its own path in place of the endpoint's.
    url = urlsplit(options.url)._replace(path="", fragment="").geturl()
    with closing(ServerClient(url, key=options.key, tls=_trusted(options))) as client:
        target = await identify(client, found)
        if target is None:
            await _examine_workers(options, found)
        else:
            # Nothing disturbs a connection that does nothing.
            idling = found.run(limits.check_keep_alive(target, found, idle_s=options.idle_s), "keep-alive")
            await asyncio.gather(idling, _examine_target(options, target, found))
    return found


async def _examine_target(options: Options, target: Target, found: Findings) -> None:
    """Examine the endpoint: quick checks at once, then one by one those that load the workers or measure time."""
    path = urlsplit(options.url).path
    check_path(path, found)
    check_trust(target.client, found, trusts_all=options.trusts_all)
    if target.kind == "vllm" and not (options.workers or options.settings.workers):
        found.green("workers-found", "vLLM itself is the worker")
        options = replace(options, workers=(options.url,))
    first = await milvus.check_first(target, found)
    if first is None:
        await _examine_workers(options, found)
        return
    await asyncio.gather(
        _examine_workers(options, found),
        found.run(milvus.check_requests(target, first, found), *_REQUESTS),
        found.run(milvus.check_voyageai(target, first, path, found), "milvus-voyageai"),
        found.run(milvus.check_order(target, first, found), "order"),
        found.run(milvus.check_trailing_slash(target, found), "trailing-slash"),
        found.run(milvus.check_errors(target, found), "error-body", "unknown-model"),
        found.run(milvus.check_keys(target, found), *CHECKS["Key"]),
    )
    await found.run(limits.check_time(target, found, milvus_s=options.milvus_timeout_s), "time")
    await found.run(limits.check_documents(target, found), "documents")
    await found.run(limits.check_body(target, found), "body")


async def _examine_workers(options: Options, found: Findings) -> None:
    workers = await _workers_of(options, found)
    try:
        for own in await asyncio.gather(*(examine(worker, options, until=found.until) for worker in workers)):
            found.take(own)
    finally:
        for worker in workers:
            worker.client.close()
            await worker.link.close()
    check_agreement(workers, options.settings.default_model, found)


async def _workers_of(options: Options, found: Findings) -> list[Worker]:
    """All workers: those named, and those that sources discover now; the embedded one needs no examination."""
    if not (entries := options.workers or options.settings.workers):
        fix = "add --worker URL, or run it with the gateway's settings"
        found.yellow("workers-found", "none is named here, so none was examined", fix)
        return []
    urls: list[str] = []
    for source in await discover(entries, limit_s=_DISCOVERY_S):
        urls += source.endpoints
        if count := len(source.endpoints):
            name = "--worker" if options.workers and source.name == "RERANK_WORKERS" else source.name
            found.green("workers-found", f"{name} has {count} worker{'' if count == 1 else 's'}")
        else:
            fix = "run it where the gateway runs (kubectl exec, docker exec), or name workers by --worker"
            found.yellow("workers-found", source.problem, fix)
    tls = Certificates(options.settings).towards_workers
    call_ids = CallIds()
    links = [connect(url, options.settings, tls, call_ids) for url in dict.fromkeys(urls)]
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
