"""How long small requests wait where big ones come as well, while the workers have work nine tenths of the time."""

from collections.abc import Iterator
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
_CLIENTS = 32
_DOCUMENTS = texts(_MOST, chars=600)


async def measure(report: Report) -> None:
    """The p99 of small requests with next to nothing to do, and at 90 % of what was the most."""
    idle_s, peak_s, busy_s = (5.0, 4.0, 8.0) if report.is_quick else (40.0, 15.0, 60.0)
    async with fake_workers(_WORKERS, FAST_GPU) as workers, gateway(workers) as ours:
        peak = await closed_loop(ours.url, _requests(ours, _sizes(0)), clients=_CLIENTS, seconds=peak_s)
        report.put("mixed_per_s", "peak", peak.per_s)
        for number, (name, seconds) in enumerate({"idle": idle_s, "busy": busy_s}.items(), start=1):
            requests = _requests(ours, _sizes(number))
            seen = await constant_rate(ours.url, requests, per_s=LOADS[name] * peak.per_s, seconds=seconds)
            small_s = [one for one, size in zip(seen.latencies_s, _sizes(number), strict=False) if size <= SMALL]
            for share in (0.5, 0.99):
                report.put(f"mixed_p{100 * share:.0f}_ms", name, 1000 * quantile(small_s, share))


def _sizes(seed: int) -> Iterator[int]:
    """From 1 to 200 documents, for ever the same for a seed."""
    rng = Random(seed)
    while True:
        yield log_uniform(rng, _MOST)


def _requests(subject: Subject, sizes: Iterator[int]) -> Iterator[bytes]:
    query = Random().random()  # never asked before
    for number, size in enumerate(sizes):
        yield subject.request(f"which one is {query} and {number}?", _DOCUMENTS[:size])
