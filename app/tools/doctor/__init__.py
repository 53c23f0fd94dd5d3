"""Examines a gateway, or what stands in its place, and the workers behind it, as Milvus and the gateway meet them."""

import asyncio
import ssl
from collections.abc import Awaitable
from dataclasses import replace

import httpx

from app.fleet.vllm import VllmLink
from app.tls import Certificates, default_context
from app.tools.doctor.agreement import check_agreement
from app.tools.doctor.answers import Asked
from app.tools.doctor.bounds import bounded
from app.tools.doctor.connections import check_keep_alive
from app.tools.doctor.exam import SHORT_IDLE_S, Exam
from app.tools.doctor.findings import CHECKS, Finding, Findings
from app.tools.doctor.found import workers_of
from app.tools.doctor.keys import check_keys
from app.tools.doctor.limits import check_body, check_documents
from app.tools.doctor.line import Line, line_to
from app.tools.doctor.milvus import check_errors, check_first, check_order, check_requests, check_trailing_slash
from app.tools.doctor.target import Target, check_path, meet
from app.tools.doctor.times import check_deadline, check_time
from app.tools.doctor.worker import Worker
from app.tools.doctor.workers import examine

__all__ = ["CHECKS", "Exam", "Finding", "Findings", "diagnose"]

_REQUESTS = [*CHECKS["Requests of Milvus"], *CHECKS["Answers"]]


async def diagnose(exam: Exam) -> Findings:
    """All findings, within half a minute; or the watch on an idle connection, if that is long.

    Raises:
        SettingsError: a file with certificates can't be used.
    """
    until = asyncio.get_running_loop().time() + exam.limit_s + max(0.0, exam.idle_s - SHORT_IDLE_S)
    found = Findings()
    if exam.knows_settings:
        check_deadline(exam.settings, found)
    line = line_to(exam.url, key=exam.key, tls=_trusted(exam))
    try:
        target = await meet(line, found)
        if target is None:
            await _examine_workers(exam, found, until)
        else:
            check_path(httpx.URL(exam.url).path, found)
            # Nothing disturbs a connection that does nothing.
            idling = bounded(("keep-alive",), check_keep_alive(target, found, idle_s=exam.idle_s), found, until=until)
            await asyncio.gather(idling, _examine_target(exam, target, found, until))
    finally:
        await line.close()
    return found


async def _examine_target(exam: Exam, target: Target, found: Findings, until: float) -> None:
    """First what is quick, all at once; then, one by one, what loads the workers and measures time."""
    _tell_trust(exam, target.line, found)
    if target.kind == "vllm" and not (exam.workers or exam.settings.workers):
        found.green("workers-found", "vLLM itself is the worker")
        exam = replace(exam, workers=(exam.url,))
    first = await check_first(target, found)
    quick = _quick_checks(target, first, found, until) if first else []
    await asyncio.gather(_examine_workers(exam, found, until), *quick)
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


async def _examine_workers(exam: Exam, found: Findings, until: float) -> None:
    urls = await workers_of(exam, found)
    workers = [Worker(_line_to_worker(url, exam)) for url in urls]
    each = [Findings() for _ in workers]
    try:
        await asyncio.gather(
            *(
                bounded(
                    ("worker-answers",),
                    examine(worker, exam, own, until=until),
                    own,
                    until=until,
                    name=worker.line.name,
                )
                for worker, own in zip(workers, each, strict=True)
            )
        )
    finally:
        await asyncio.gather(*(worker.line.close() for worker in workers))
    for own in each:
        found.take(own)
    check_agreement(workers, exam.settings.default_model, found)


def _line_to_worker(url: str, exam: Exam) -> Line:
    """The way to a worker, with its address as the gateway reads it."""
    secret = exam.settings.worker_api_key
    tls = Certificates(exam.settings).towards_workers
    line = line_to(url, key=secret.get_secret_value() if secret else None, tls=tls)
    line.url = httpx.URL(VllmLink(url).url)
    line.query = ""
    return line


def _trusted(exam: Exam) -> ssl.SSLContext:
    """How the endpoint's certificate is checked."""
    context = Certificates(exam.settings).towards_workers or default_context()
    if exam.trusts_all:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _tell_trust(exam: Exam, line: Line, found: Findings) -> None:
    if line.url.scheme != "https":
        return
    if exam.trusts_all:
        fix = "run it without --insecure, and with the URL that Milvus has: Milvus checks the certificate"
        found.yellow("certificate", f"the certificate of {line.name} was not looked at", fix)
    else:
        found.green(
            "certificate", f"the certificate of {line.name} is trusted here; Milvus's container must trust it too"
        )
