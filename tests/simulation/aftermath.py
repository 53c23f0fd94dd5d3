"""What is left of a gateway when nobody asks any more, and which workers it doesn't use although they are well."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tests.simulation.replica import Replica
from tests.simulation.workers import SimulatedWorker

_BYTES = "rerank_request_bytes_in_flight "


def leftovers(replicas: Sequence[Replica]) -> Iterator[str]:
    """What gateways still hold, a sentence each."""
    for replica in replicas:
        engine, name = replica.engine, f"gateway {replica.number + 1}"
        counts = {
            "chunks wait for a slot": engine.scheduler.waiting,
            "documents are queued": engine.scheduler.waiting_documents,
            "documents are pending": engine.admission.pending_documents,
            "pairs are under way": engine.singleflight.pairs,
            "bytes of bodies are held": _bytes_in_flight(replica),
        }
        yield from (f"{count} {what} at {name}" for what, count in counts.items() if count)
        for worker in engine.registry.workers:
            held = (worker.calls, worker.documents, worker.tokens)
            if held != (0, 0, 0):
                yield f"{name} still counts {held} calls, documents and tokens on {worker.name}"


def unwell(replica: Replica, workers: Sequence[str], now: float) -> Iterator[str]:
    """Why a gateway doesn't use some of the workers that are there, a sentence each."""
    known = {worker.name: worker for worker in replica.engine.registry.workers}
    for name in workers:
        seen = known.get(name)
        where = f"gateway {replica.number + 1}"
        if seen is None:
            yield f"{where} doesn't know {name}"
        elif not seen.is_usable or seen.problem:
            yield f"{where} can't use {name}: {seen.problem.redacted if seen.problem else seen.breaker.state}"
        elif seen.backs_off_until > now:
            yield f"{where} backs off from {name} for {seen.backs_off_until - now:.0f} s more"
        else:
            yield from (
                f"{where} gives {name} no work: nothing is usable of {model}"
                for model, mark in seen.serves.items()
                if seen not in replica.engine.registry.usable(mark)
            )


def still_busy(workers: Iterable[SimulatedWorker]) -> Iterator[str]:
    """What workers still have to do when all gateways are gone, a sentence each."""
    for worker in workers:
        if worker.in_flight:
            yield f"{worker.in_flight} calls to {worker.name} after the end"
        if worker.host and worker.host.connections:
            yield f"{worker.host.connections} connections to {worker.name} after the end"


def named(task: asyncio.Task[Any]) -> str:
    """What a task runs."""
    coroutine = task.get_coro()
    return getattr(coroutine, "__qualname__", repr(coroutine))


def _bytes_in_flight(replica: Replica) -> int:
    lines = replica.engine.metrics.render_at_once().decode().splitlines()
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(_BYTES))
