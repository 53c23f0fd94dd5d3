"""What splitting gains: 1000 documents over one worker and over several, against one call to one worker."""

from bench.gateways import Subject, gateway
from bench.load import in_sequence
from bench.quantiles import median
from bench.report import Report
from bench.traffic import never_seen, texts
from bench.workers import FAST_GPU, TINY_ON_CPU, Service, fake_workers

SERVICES = {"gpu": FAST_GPU, "cpu": TINY_ON_CPU}
WORKERS = (1, 2, 4)
_DOCUMENTS = texts(1000, chars=600)
# Until the adaptive limit has found how much a worker takes at once.
_WARM_UP = 3


async def measure(report: Report) -> None:
    """With each of the service times; a quick run only takes the faster."""
    for name in ("gpu",) if report.is_quick else SERVICES:
        await _measure(report, f"thousand_ms.{name}", SERVICES[name])


async def _measure(report: Report, what: str, service: Service) -> None:
    for count in WORKERS:
        async with fake_workers(count, service) as workers, gateway(workers) as ours:
            report.put(what, f"gateway, {count}", await _median_ms(report, ours))
            if count == 1:
                report.put(what, "one call", await _median_ms(report, Subject("worker", workers[0], "/v1/rerank")))


async def _median_ms(report: Report, subject: Subject) -> float:
    rounds = 2 if report.is_quick else 5
    latencies_s = await in_sequence(subject.url, never_seen(subject, _DOCUMENTS), _WARM_UP + rounds)
    return 1000 * median(latencies_s[_WARM_UP:])
