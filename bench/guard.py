"""Red when a request costs the gateway clearly more CPU time than it did: `python -m bench.guard`, in 30 s.

CPU times differ between machines and with what else they do, so a request is weighed against a loop that never changes
and does the same kinds of things. Both are measured in turns on the same core; the median of their ratios is held
against the one in `bench/baseline.json`. `--accept` writes that file anew, after a change that saves, or may cost.
"""

import os
import socket
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from random import Random
from time import process_time
from typing import Annotated

import orjson
import typer
import uvloop

from bench.gateways import Served, gateway
from bench.load import closed_loop
from bench.processes import MEASURED_CORES, OTHER_CORES
from bench.quantiles import median
from bench.traffic import never_seen, shuffled, texts
from bench.workers import fake_workers

BASELINE = Path(__file__).parent / "baseline.json"
# Five times what the median moves between runs on a machine that others use as well.
SLIDE = 1.4
_PAIRS = 7
_SECONDS = 0.7
_CLIENTS = 8
_TURNS = 600
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
    for name, slide in slides(ratios, baseline).items():
        print(f"{name}: {ratios[name]:.1f} turns of the loop, {slide:.2f} times the baseline (red above {SLIDE})")
    if has_slid(ratios, baseline):
        print("a request costs more CPU time than it did; if that is meant: .venv/bin/python -m bench.guard --accept")
        raise typer.Exit(1)


async def _ratios() -> dict[str, float]:
    """By kind of request: its CPU time in turns of the loop."""
    async with fake_workers(1) as workers, gateway(workers) as ours:
        kinds = {"none known": never_seen(ours, _DOCUMENTS), "all known": shuffled(ours, _DOCUMENTS, Random(1))}
        for requests in kinds.values():
            await _request_s(ours, requests)
        pairs = [{name: await _pair(ours, requests) for name, requests in kinds.items()} for _ in range(_PAIRS)]
    return {name: round(median([pair[name] for pair in pairs]), 4) for name in kinds}


async def _pair(ours: Served, requests: Iterator[bytes]) -> float:
    """A request's CPU time against the loop's just before it and just after."""
    before_s, request_s, after_s = _loop_s(), await _request_s(ours, requests), _loop_s()
    return request_s / ((before_s + after_s) / 2)


async def _request_s(ours: Served, requests: Iterator[bytes]) -> float:
    before_s = ours.server.cpu_s()
    outcome = await closed_loop(ours.url, requests, clients=_CLIENTS, seconds=_SECONDS)
    return (ours.server.cpu_s() - before_s) / len(outcome.latencies_s)


def _loop_s() -> float:
    """CPU time of one turn of the loop, on the core of the gateway, which does nothing meanwhile."""
    body = orjson.dumps({"query": "which one is it?", "documents": _DOCUMENTS})
    os.sched_setaffinity(0, MEASURED_CORES)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        began = process_time()
        for _ in range(_TURNS):
            _turn(body, ours, theirs)
        seconds = process_time() - began
    os.sched_setaffinity(0, OTHER_CORES)
    return seconds / _TURNS


def _turn(body: bytes, ours: socket.socket, theirs: socket.socket) -> None:
    """What a request makes a server do: bytes through a socket, JSON, hashes, and Python objects by the dozen."""
    ours.sendall(body)
    received = theirs.recv(len(body), socket.MSG_WAITALL)
    documents = orjson.loads(received)["documents"]
    digests = {blake2b(text.encode(), digest_size=16).digest(): index for index, text in enumerate(documents)}
    rows = [{"index": index, "relevance_score": index / 97} for index in digests.values()]
    orjson.dumps(sorted(rows, key=lambda row: -row["relevance_score"]))


if __name__ == "__main__":
    typer.run(_main)
