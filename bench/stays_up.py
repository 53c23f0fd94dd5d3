"""How clients fare with a slow or hung worker, next to big neighbours, and under three times the load that fits.

Real gateway and worker processes on loopback; the workers score one document after the other with a fixed service time.
Run it with `python -m bench.stays_up`; it takes about four minutes.
"""

import asyncio
import signal
import sys
from collections.abc import Sequence
from random import Random
from time import perf_counter

from tests.chaos.load import Client, Outcome, half_of, steady, work_s
from tests.chaos.run import warm_up
from tests.chaos.stage import PER_DOCUMENT_S, Stage, set_up
from tests.chaos.worker import Order

_OVERLOAD_S = 60
# A burst may wait for its turn; that it is none shows after this time.
_ONSET_S = 5
_STEADY_S = 20


async def _p99_ms(stage: Stage, *, workers: int, seconds: float = _STEADY_S, seed: int = 1) -> tuple[float, int]:
    """The p99 under steady load of half of what `workers` carry, and how many requests failed."""
    client = Client(stage.session, stage.gateways[0].url, rng=Random(seed))
    async with steady([client], per_s=half_of(workers)):
        await asyncio.sleep(seconds)
    return client.outcome.quantile_ms(0.99), len(client.outcome.failed) + len(client.outcome.wrong)


async def bad_worker() -> None:
    """One of four workers ten times slower, then hung."""
    async with set_up(workers=4, gateways=[{"RERANK_HEDGE": "on"}]) as stage:
        await warm_up(stage)
        await _p99_ms(stage, workers=3, seconds=5)
        healthy, _ = await _p99_ms(stage, workers=3)
        await stage.workers[0].obey(Order(slowness=10))
        slow, slow_failed = await _p99_ms(stage, workers=3, seed=2)
        await stage.workers[0].obey(Order())
        await asyncio.sleep(10)
        stage.workers[0].process.send_signal(signal.SIGSTOP)
        _, first_failed = await _p99_ms(stage, workers=3, seconds=5, seed=3)
        hung, hung_failed = await _p99_ms(stage, workers=3, seed=4)
        stage.workers[0].process.send_signal(signal.SIGCONT)
    print(f"four workers, hedging on: p99 {healthy:.0f} ms healthy")
    print(f"  one ten times slower: {slow:.0f} ms, {slow / healthy:.2f} x (goal 1.5), failed {slow_failed}")
    print(
        f"  one hung, once known: {hung:.0f} ms, {hung / healthy:.2f} x (goal 3), failed {first_failed + hung_failed}"
    )


async def big_neighbours() -> None:
    """Requests of 10 documents beside two clients that send 1000 at a time."""
    async with set_up(workers=1, gateways=[{"RERANK_MAX_BATCH": "32"}]) as stage:
        await warm_up(stage)
        idle = await _small(stage, requests=150)
        alone = await _big(stage, ())
        small = Client(stage.session, stage.gateways[0].url, rng=Random(3))
        beside = await _big(stage, [small])
        p99 = small.outcome.quantile_ms(0.99)
    print(f"10 documents, one worker: p99 {idle:.0f} ms, {p99:.0f} beside two of 1000, {p99 / idle:.1f} x (goal 5)")
    print(f"  documents per second: {alone:.0f} without the small ones, {beside:.0f} with {len(small.outcome.seconds)}")


async def _small(stage: Stage, *, requests: int) -> float:
    client = Client(stage.session, stage.gateways[0].url, rng=Random(2))
    for _ in range(requests):
        await client.rerank(10)
    return client.outcome.quantile_ms(0.99)


async def _big(stage: Stage, small: Sequence[Client]) -> float:
    """Documents per second that two clients get scored, all small requests beside them counted too."""
    clients = [Client(stage.session, stage.gateways[0].url, rng=Random(number)) for number in range(2)]
    ends = perf_counter() + _STEADY_S

    async def repeat(client: Client, size: int, pause_s: float) -> int:
        documents = 0
        while perf_counter() < ends:
            await client.rerank(size)
            documents += size if not client.outcome.failed else 0
            await asyncio.sleep(pause_s)
        return documents

    began = perf_counter()
    done = await asyncio.gather(
        *[repeat(client, 1000, 0) for client in clients], *[repeat(client, 10, 0.1) for client in small]
    )
    return sum(done) / (perf_counter() - began)


async def overload() -> None:
    """Three times the load there is room for, for a minute."""
    async with set_up(workers=2, gateways=[{}]) as stage:
        await warm_up(stage)
        full = 2 * half_of(2)
        peak, at_peak = await _peak(stage)
        began = perf_counter()
        client = Client(stage.session, stage.gateways[0].url, rng=Random(6), may_be_told=frozenset({429}))
        async with steady([client], per_s=3 * full):
            await asyncio.sleep(_ONSET_S)
            onset, client.outcome = client.outcome, Outcome()
            await asyncio.sleep(_OVERLOAD_S - _ONSET_S)
        flooded = client.outcome
        goodput = work_s(onset.sizes + flooded.sizes) / (perf_counter() - began)
        await asyncio.sleep(2)
        after = Client(stage.session, stage.gateways[0].url, rng=Random(7))
        async with steady([after], per_s=0.5 * full):
            await asyncio.sleep(5)
    print(f"3 x overload for {_OVERLOAD_S} s: goodput {goodput / peak:.0%} of the peak (goal 90 %)")
    for name, seen in ((f"first {_ONSET_S} s", onset), ("from then on", flooded)):
        print(f"  {name}: {len(seen.seconds)} requests scored, {len(seen.told)} shed, {len(seen.failed)} failed")
        for share, calm in at_peak.items():
            flood = seen.quantile_ms(share)
            print(f"    p{100 * share:.0f}: {flood:.0f} ms, at the peak {calm:.0f}, {flood / calm:.1f} x (goal 2)")
    print(f"  two seconds after it: p99 {after.outcome.quantile_ms(0.99):.0f} ms, failed {len(after.outcome.failed)}")


async def _peak(stage: Stage) -> tuple[float, dict[float, float]]:
    """Seconds of work done per second with always enough to do, and quantiles of the latency meanwhile."""
    clients = [Client(stage.session, stage.gateways[0].url, rng=Random(number)) for number in range(16)]
    ends = perf_counter() + _STEADY_S

    async def repeat(client: Client) -> None:
        while perf_counter() < ends:
            await client.rerank(client.size())

    began = perf_counter()
    await asyncio.gather(*map(repeat, clients))
    seconds = perf_counter() - began
    everybody = Outcome(seconds=[one for client in clients for one in client.outcome.seconds])
    done = sum(work_s(client.outcome.sizes) for client in clients) / seconds
    return done, {share: everybody.quantile_ms(share) for share in (0.5, 0.99)}


async def main() -> None:
    """The parts named on the command line, or all."""
    print(f"workers score a document in {1000 * PER_DOCUMENT_S:g} ms")
    parts = {part.__name__: part for part in (bad_worker, big_neighbours, overload)}
    for name in sys.argv[1:] or parts:
        await parts[name]()


if __name__ == "__main__":
    asyncio.run(main())
