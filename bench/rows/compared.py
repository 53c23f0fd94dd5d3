"""What a request costs the gateway and its peers: CPU time, and the time it adds to a worker that takes none."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from random import Random
from typing import TypeVar

import orjson

from bench.connection import NotAnswered, connected
from bench.gateways import Served, Subject, gateway, peer
from bench.load import closed_loop
from bench.peers.afternoon import PLAIN
from bench.peers.bare import BARE
from bench.peers.haproxy import HAPROXY
from bench.peers.litellm import LITELLM
from bench.peers.nginx import NGINX
from bench.peers.peer import NotInstalled
from bench.peers.vllm_router import VLLM_ROUTER
from bench.processes import NotServing
from bench.quantiles import median, quantile
from bench.report import Report
from bench.traffic import never_seen, shuffled, texts
from bench.workers import fake_workers

PEERS = (NGINX, HAPROXY, VLLM_ROUTER, BARE, PLAIN, LITELLM)
CONCURRENCIES = (1, 10)
_CLIENTS = 8
_ROUND_S = 0.5
_SMALL = texts(32, chars=700)
_BIG = texts(1000, chars=600)
One = TypeVar("One", bound=Subject)
Value = TypeVar("Value")


async def measure(report: Report) -> None:
    """Everybody over the same worker, in turns."""
    async with fake_workers(1) as workers, AsyncExitStack() as stack:
        ours = await stack.enter_async_context(gateway(workers))
        uncached = await stack.enter_async_context(gateway(workers, "gateway, cache off", RERANK_CACHE="off"))
        report.remarks["gateway, /v1/rerank"] = (
            "repeats the documents, as vLLM does; Milvus's `/rerank` leaves them out"
        )
        echoing = replace(ours, name="gateway, /v1/rerank", path="/v1/rerank")
        peers = await stack.enter_async_context(_peers(report, workers))
        await _cpu(report, "cpu_ms.unknown", [ours, uncached, echoing, *peers], lambda one: never_seen(one, _SMALL))
        await _cpu(report, "cpu_ms.known", [ours], lambda one: shuffled(one, _SMALL, Random(3)))
        await _cpu(report, "cpu_ms.big", [ours, *peers], lambda one: never_seen(one, _BIG))
        direct = Subject("worker", workers[0], path="/v1/rerank")
        for clients in CONCURRENCIES:
            await _latency(report, [direct, ours, *peers], clients)


@asynccontextmanager
async def _peers(report: Report, workers: Sequence[str]) -> AsyncIterator[list[Served]]:
    """Those that are installed, come up, and rank as they should; the report says why another doesn't."""
    async with AsyncExitStack() as stack:
        found = []
        for one in PEERS:
            report.remarks[one.name] = one.remark
            try:
                report.versions[one.name] = one.version()
                subject = await stack.enter_async_context(peer(one, workers))
                await _check(subject)
            except NotInstalled as exc:
                report.missing[one.name] = f"not installed: {exc}"
            except (NotServing, NotAnswered) as exc:
                report.missing[one.name] = str(exc)
            else:
                found.append(subject)
        yield found


async def _check(subject: Subject) -> None:
    """Raise NotAnswered unless it ranks all documents."""
    async with connected(subject.url) as connection:
        answer = orjson.loads(await connection.ask(subject.request("q", _SMALL)))
    scores = [result["relevance_score"] for result in answer["results"]]
    if len(scores) != len(_SMALL) or scores != sorted(scores, reverse=True):
        raise NotAnswered(f"it ranked {len(scores)} of {len(_SMALL)} documents")


async def _cpu(
    report: Report, what: str, subjects: Sequence[Served], requests: Callable[[Subject], Iterator[bytes]]
) -> None:
    """CPU time per request, the kernel's included: the least of the rounds, since what else runs can only add."""
    endless = {subject.name: requests(subject) for subject in subjects}

    async def cost_ms(subject: Served) -> float:
        before_s = subject.server.cpu_s()
        outcome = await closed_loop(subject.url, endless[subject.name], clients=_CLIENTS, seconds=_ROUND_S)
        return 1000 * (subject.server.cpu_s() - before_s) / len(outcome.latencies_s)

    for name, costs_ms in (await _in_turns(report, subjects, cost_ms)).items():
        report.put(what, name, min(costs_ms))


async def _latency(report: Report, subjects: Sequence[Subject], clients: int) -> None:
    """The latency that so many clients see, each with one request after another: its p50 in the best of the rounds.

    A p99 is that of the middle round, as the best one has seen the least of what belongs to it.
    """
    endless = {subject.name: never_seen(subject, _SMALL) for subject in subjects}

    async def latencies_ms(subject: Subject) -> list[float]:
        outcome = await closed_loop(subject.url, endless[subject.name], clients=clients, seconds=_ROUND_S)
        return [1000 * latency_s for latency_s in outcome.latencies_s]

    for name, rounds in (await _in_turns(report, subjects, latencies_ms)).items():
        report.put(f"p50_ms.{clients}", name, min(median(one) for one in rounds))
        report.put(f"p99_ms.{clients}", name, median([quantile(one, 0.99) for one in rounds]))


async def _in_turns(
    report: Report, subjects: Sequence[One], one: Callable[[One], Awaitable[Value]]
) -> dict[str, list[Value]]:
    """Many short rounds, each with everybody's turn: what disturbs the machine hits all, and rarely all of them.

    One more comes first, to warm up.
    """
    rounds = 3 if report.is_quick else 15
    seen = [{subject.name: await one(subject) for subject in subjects} for _ in range(1 + rounds)]
    return {subject.name: [one[subject.name] for one in seen[1:]] for subject in subjects}
