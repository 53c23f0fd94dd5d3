"""The doctor: examines a gateway (or another server in its place) as Milvus calls it, and its workers."""

import asyncio
import ssl
from collections.abc import Awaitable
from dataclasses import replace

import httpx

from app.settings.certificates import Certificates, default_context
from app.tools.doctor.agreement import check_agreement
from app.tools.doctor.answer_checks import Asked
from app.tools.doctor.discover import workers_of
from app.tools.doctor.findings import CHECKS, Finding, Findings
from app.tools.doctor.keep_alive import check_keep_alive
from app.tools.doctor.keys import check_keys
from app.tools.doctor.limits import check_body, check_documents
from app.tools.doctor.milvus import check_errors, check_first, check_order, check_requests, check_trailing_slash
from app.tools.doctor.options import SHORT_IDLE_S, Options
from app.tools.doctor.seen_worker import SeenWorker
from app.tools.doctor.server_client import ServerClient, client_for
from app.tools.doctor.target import Target, check_path, identify
from app.tools.doctor.time_limits import bounded
from app.tools.doctor.times import check_deadline, check_time
from app.tools.doctor.worker_checks import examine
from app.workers.vllm import VllmLink

__all__ = ["CHECKS", "Finding", "Findings", "Options", "diagnose"]

_REQUESTS = [*CHECKS["Requests of Milvus"], *CHECKS["Answers"]]


async def diagnose(options: Options) -> Findings:
    """All findings, within half a minute, or longer when an idle connection is watched for longer.

    Raises:
        SettingsError: a file with certificates can't be used.
    """
    until = asyncio.get_running_loop().time() + options.limit_s + max(0.0, options.idle_s - SHORT_IDLE_S)
    found = Findings()
    if options.knows_settings:
        check_deadline(options.settings, found)
    client = client_for(options.url, key=options.key, tls=_trusted(options))
    try:
        target = await identify(client, found)
        if target is None:
            await _examine_workers(options, found, until)
        else:
            check_path(httpx.URL(options.url).path, found)
            # Nothing disturbs a connection that does nothing.
            idling = bounded(
                ("keep-alive",), check_keep_alive(target, found, idle_s=options.idle_s), found, until=until
            )
            await asyncio.gather(idling, _examine_target(options, target, found, until))
    finally:
        await client.close()
    return found


async def _examine_target(options: Options, target: Target, found: Findings, until: float) -> None:
    """Examine the endpoint: quick checks at once, then one by one those that load the workers or measure time."""
    _tell_trust(options, target.client, found)
    if target.kind == "vllm" and not (options.workers or options.settings.workers):
        found.green("workers-found", "vLLM itself is the worker")
        options = replace(options, workers=(options.url,))
    first = await check_first(target, found)
    quick = _quick_checks(target, first, found, until) if first else []
    await asyncio.gather(_examine_workers(options, found, until), *quick)
    if first is None:
        return
    await bounded(("time",), check_time(target, found), found, until=until)
    await bounded(("documents",), check_documents(target, found), found, until=until)
    await bounded(("body",), check_body(target, found), found, until=until)


def _quick_checks(target: Target, first: Asked, found: Findings, until: float) -> list[Awaitable[None]]:
    table = (
        (_REQUESTS[1:], check_requests(target, first, found)),
        (("order",), check_order(target, first, found)),
        (("trailing-slash",), check_trailing_slash(target, found)),
        (("error-body", "unknown-model"), check_errors(target, found)),
        (CHECKS["Key"], check_keys(target, found)),
    )
    return [bounded(checks, work, found, until=until) for checks, work in table]


async def _examine_workers(options: Options, found: Findings, until: float) -> None:
    urls = await workers_of(options, found)
    workers = [SeenWorker(_client_for_worker(url, options)) for url in urls]
    each = [Findings() for _ in workers]
    try:
        await asyncio.gather(
            *(
                bounded(
                    ("worker-answers",),
                    examine(worker, options, own, until=until),
                    own,
                    until=until,
                    name=worker.client.name,
                )
                for worker, own in zip(workers, each, strict=True)
            )
        )
    finally:
        await asyncio.gather(*(worker.client.close() for worker in workers))
    for own in each:
        found.take(own)
    check_agreement(workers, options.settings.default_model, found)


def _client_for_worker(url: str, options: Options) -> ServerClient:
    """The client for a worker, whose address is read as the gateway reads it."""
    secret = options.settings.worker_api_key
    tls = Certificates(options.settings).towards_workers
    client = client_for(url, key=secret.get_secret_value() if secret else None, tls=tls)
    client.url = httpx.URL(VllmLink(url).url)
    client.query = ""
    return client


def _trusted(options: Options) -> ssl.SSLContext:
    """The TLS context for calls to the endpoint."""
    context = Certificates(options.settings).towards_workers or default_context()
    if options.trusts_all:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _tell_trust(options: Options, client: ServerClient, found: Findings) -> None:
    if client.url.scheme != "https":
        return
    if options.trusts_all:
        fix = "run it without --insecure, and with the URL that Milvus has: Milvus checks the certificate"
        found.yellow("certificate", f"the certificate of {client.name} was not looked at", fix)
    else:
        found.green(
            "certificate", f"the certificate of {client.name} is trusted here; Milvus's container must trust it too"
        )
