"""Red when a request costs the gateway clearly more CPU time than it did: `python -m bench.guard`, in 30 s.

CPU times differ between machines, and a busy neighbour makes all of them longer. So a request is weighed against one
that `bench/peers/plain.py` passes on, which never changes and is slowed down by the same things: both are measured in
turns on the same core. The ratio of their least costs is held against the one in `bench/baseline.json`. `--accept`
writes that file anew, after a change that saves, or may cost.
"""

import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Annotated

import orjson
import typer
import uvloop

from bench.gateways import Served, gateway
from bench.load import closed_loop
from bench.peers.afternoon import plain_command
from bench.processes import MEASURED_CORES, OTHER_CORES, serving
from bench.traffic import never_seen, shuffled, texts
from bench.workers import fake_workers
from tests.integration.commands import free_port

BASELINE = Path(__file__).parent / "baseline.json"
SLIDE = 1.4
_ROUNDS = 7
_SECONDS = 0.7
_CLIENTS = 8
_DOCUMENTS = texts(32, chars=700)


def slides(ratios: Mapping[str, float], baseline: Mapping[str, float]) -> dict[str, float]:
    """How many times as much as at the baseline each request costs."""
    return {name: ratios[name] / weight for name, weight in baseline.items()}


def has_slid(ratios: Mapping[str, float], baseline: Mapping[str, float]) -> bool:
    """Whether any of them costs 40 % more than at the baseline, or hasn't been measured at all."""
    return not baseline.keys() <= ratios.keys() or max(slides(ratios, baseline).values()) > SLIDE


def _main(*, accept: Annotated[bool, typer.Option(help="take what is measured as the new baseline")] = False) -> None:
    """Weigh requests; ends with 1 when one has become too heavy."""
    os.sched_setaffinity(0, OTHER_CORES)
    ratios = uvloop.run(_ratios())
    if accept:
        BASELINE.write_bytes(orjson.dumps(ratios, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    baseline = orjson.loads(BASELINE.read_bytes())
    if has_slid(ratios, baseline):
        # What costs more does so twice; a disturbance of the machine rarely does.
        ratios = uvloop.run(_ratios())
    for name, slide in slides(ratios, baseline).items():
        print(f"{name}: {ratios[name]:.3f} plain requests, {slide:.2f} times the baseline (red above {SLIDE})")
    if has_slid(ratios, baseline):
        print("a request costs more CPU time than it did; if that is meant: .venv/bin/python -m bench.guard --accept")
        raise typer.Exit(1)


async def _ratios() -> dict[str, float]:
    """By kind of request: its CPU time in requests of the plain proxy."""
    async with fake_workers(1) as workers, gateway(workers) as ours, _plain(workers) as plain:
        kinds = {
            "plain": (plain, never_seen(plain, _DOCUMENTS)),
            "none known": (ours, never_seen(ours, _DOCUMENTS)),
            "all known": (ours, shuffled(ours, _DOCUMENTS, Random(1))),
        }
        rounds = [{name: await _request_s(*kind) for name, kind in kinds.items()} for _ in range(1 + _ROUNDS)]
    # What else runs can only add: on a busy machine this differs less between runs than medians do.
    least = {name: min(seen[name] for seen in rounds[1:]) for name in kinds}
    return {name: round(cost / least["plain"], 4) for name, cost in least.items() if name != "plain"}


@asynccontextmanager
async def _plain(workers: Sequence[str]) -> AsyncIterator[Served]:
    """The plain proxy in our own virtual environment: those of the peers aren't needed."""
    port = free_port()
    command = plain_command(sys.executable, workers, port)
    async with serving(command, port=port, cores=MEASURED_CORES, ready="/health") as server:
        yield Served("plain proxy", server.url, server=server)


async def _request_s(subject: Served, requests: Iterator[bytes]) -> float:
    before_s = subject.server.cpu_s()
    outcome = await closed_loop(subject.url, requests, clients=_CLIENTS, seconds=_SECONDS)
    return (subject.server.cpu_s() - before_s) / len(outcome.latencies_s)


if __name__ == "__main__":
    typer.run(_main)
