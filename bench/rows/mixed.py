"""How long small requests wait where big ones come as well, while the workers have work nine tenths of the time."""

from collections.abc import Iterator
from math import isinf
from random import Random

from bench.gateways import Subject, gateway
from bench.load import closed_loop, constant_rate
from bench.quantiles import quantile
from bench.report import Report
from bench.traffic import log_uniform, texts
from bench.workers import FAST_GPU, fake_workers

_WORKERS = 4
_MOST = 200
SMALL = 10
LOADS = {"idle": 0.05, "busy": 0.9}
# Enough to keep all workers busy; more would be told to come again.
_CLIENTS = 12
_DOCUMENTS = texts(_MOST, chars=600)


async def measure(report: Report) -> None:
    """The p99 of small requests with next to nothing to do, and at 90 % of what was the most."""
    peak_s = 4.0 if report.is_quick else 15.0
    async with fake_workers(_WORKERS, FAST_GPU) as workers, gateway(workers) as ours:
        peak = await closed_loop(ours.url, _requests(ours, "peak"), clients=_CLIENTS, seconds=peak_s)
        report.put("mixed_per_s", "peak", peak.per_s)
        for name, share in LOADS.items():
            seconds = 6.0 if report.is_quick else 40.0
            requests = _requests(ours, name)
            seen = await constant_rate(ours.url, requests, per_s=share * peak.per_s, seconds=seconds)
            small_s = [one for one, size in zip(seen.latencies_s, _sizes(name), strict=False) if size <= SMALL]
            report.put("mixed_refused_percent", name, 100 * sum(map(isinf, small_s)) / len(small_s))
            small_s = [one for one in small_s if not isinf(one)]
            for quantile_of in (0.5, 0.99):
                report.put(f"mixed_p{100 * quantile_of:.0f}_ms", name, 1000 * quantile(small_s, quantile_of))


def _sizes(name: str) -> Iterator[int]:
    """From 1 to 200 documents, for ever; the same sequence for the same name."""
    rng = Random(name)
    while True:
        yield log_uniform(rng, _MOST)


def _requests(subject: Subject, name: str) -> Iterator[bytes]:
    for number, size in enumerate(_sizes(name)):
        yield subject.request(f"which one is {name} {number}?", _DOCUMENTS[:size])
