"""A fault under load, and the rows of the table for it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tests.chaos.balancer import balancing
from tests.chaos.faults import Fault, Play
from tests.chaos.load import Client, Outcome, half_of, steady
from tests.chaos.stage import GatewayProcess, Stage, started

# The victim, and one that is not yet back from its turn.
_AWAY = 2
# Load before and after the fault.
_MARGIN_S = 0.2


@dataclass(frozen=True)
class Row:
    """What clients of one gateway saw of a fault.

    Args:
        fault: Its name.
        is_hedging: Whether the gateway hedges.
        outcome: What clients saw.
        failed_calls: Calls to workers that failed, so that it shows whether the fault struck.
        problem: Which promise was broken, if any.
    """

    fault: str
    is_hedging: bool
    outcome: Outcome
    failed_calls: int
    problem: str | None


def table(rows: Sequence[Row]) -> str:
    """The rows as text, each compared with the first of the same hedging, which is the healthy run."""
    healthy = {row.is_hedging: row.outcome.quantile_ms(0.99) for row in reversed(rows)}
    head = ("fault", "hedging", "requests", "failed", "told", "wrong", "bad calls", "p50 ms", "p99 ms", "x p99")
    lines: list[tuple[str, ...]] = [head]
    for row in rows:
        seen, p99_ms = row.outcome, row.outcome.quantile_ms(0.99)
        counted = (seen.requests, len(seen.failed), len(seen.told), len(seen.wrong), row.failed_calls)
        times = (f"{seen.quantile_ms(0.5):.0f}", f"{p99_ms:.0f}", f"{p99_ms / healthy[row.is_hedging]:.1f}")
        lines.append((row.fault, "on" if row.is_hedging else "off", *map(str, counted), *times))
    return "\n".join(f"{line[0]:<28}" + "".join(f"{cell:>10}" for cell in line[1:]) for line in lines)


async def warm_up(stage: Stage) -> None:
    """Let the gateways learn how long calls of every size take, and remember what they are when idle."""
    clients = [Client(stage.session, gateway.url, rng=Random(7)) for gateway in stage.gateways]
    for size in (1, 15, 60) * 4:
        await asyncio.gather(*[client.rerank(size) for client in clients for _ in stage.workers])
    await asyncio.gather(*[gateway.remember_idle() for gateway in stage.gateways])


async def run(fault: Fault, stage: Stage, gateways: Sequence[GatewayProcess], *, seconds: float) -> list[Row]:
    """Strike under load for so long, and wait until everything is idle again."""
    clients = [_client(stage, gateway.url, fault) for gateway in gateways]
    before = [await gateway.failed_calls() for gateway in gateways]
    async with steady(clients, per_s=half_of(len(stage.workers) - _AWAY)):
        await asyncio.sleep(_MARGIN_S)
        async with fault.strike(Play(stage, clients)):
            await asyncio.sleep(seconds)
        await asyncio.sleep(_MARGIN_S)
    rows = []
    for gateway, client, earlier in zip(gateways, clients, before, strict=True):
        problem = await _problem(client.outcome, gateway)
        failed_calls = await gateway.failed_calls() - earlier
        rows.append(Row(fault.name, gateway.is_hedging, client.outcome, failed_calls, problem))
    return rows


async def restart(stage: Stage, *, rounds: int, **settings: str) -> Row:
    """Restart one of two replicas after the other under load."""
    replicas = [GatewayProcess(stage.session, stage.workers, RERANK_DRAIN_S="1", **settings) for _ in range(2)]
    async with started(*replicas), balancing(replicas) as url:
        client = Client(stage.session, url, rng=Random("restart"))
        problem = None
        # Less than for the faults of workers: a gateway that starts takes the CPU that the one that is left needs.
        async with steady([client], per_s=half_of(1)):
            for replica in replicas * rounds:
                if code := await replica.end():
                    problem = f"a gateway exited with {code}"
                await replica.begin()
                await replica.remember_idle()
            await asyncio.sleep(_MARGIN_S)
        for replica in replicas:
            problem = problem or await _problem(client.outcome, replica)
    return Row("rolling restart", replicas[0].is_hedging, client.outcome, 0, problem)


def _client(stage: Stage, url: str, fault: Fault) -> Client:
    return Client(stage.session, url, rng=Random(fault.name), may_be_told=fault.may_see)


async def _problem(outcome: Outcome, gateway: GatewayProcess) -> str | None:
    for problem in (*outcome.wrong, *outcome.failed):
        return problem
    try:
        await gateway.settle()
    except AssertionError as exc:
        return str(exc)
    return None
