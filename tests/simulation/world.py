"""The world of one run: gateways, workers, clients and operators on one virtual clock, after a plan."""

import asyncio
import gc
import warnings
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any

from app.settings import Settings
from tests.simulation.clients import Clients, order
from tests.simulation.clock import Stuck, VirtualLoop, telling
from tests.simulation.discovery import SimulatedSource
from tests.simulation.plan import Ask, Discover, Event, Fault, Loop, Measure, Operate, Plan, Replace, Shared, Standstill
from tests.simulation.record import Note, Record, Request, Trouble
from tests.simulation.replica import Replica, quick_and_quiet
from tests.simulation.shared_cache import URL, SharedCache
from tests.simulation.sizes import sizes_of
from tests.simulation.workers import SimulatedLink, SimulatedWorker

# Before the first event of a plan, so that most begin with workers that have been asked who they are.
SETTLING_S = 1.0
# The longest pause of a breaker, with its jitter.
_LONGEST_PAUSE_S = 4.0 * 1.2
_LITTLE_S = 0.5
_LAST_DOCUMENTS = 3
_BYTES = "rerank_request_bytes_in_flight "


@dataclass
class Outcome:
    """What came of a run.

    Args:
        plan: What was to happen.
        settings: Of the gateways.
        record: What happened.
        quiet_at: When all faults had been over for so long that everybody had to be well.
        unwell: What was wrong with the gateways' workers then.
        last: The requests that were sent then, one to each replica and model.
        left: What was left when nobody asked any more.
        stuck: Why the run didn't come to its end.
    """

    plan: Plan
    settings: Settings
    record: Record
    quiet_at: float = 0.0
    unwell: list[str] = field(default_factory=list)
    last: list[Request] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    stuck: str = ""
    took_s: float = 0.0


def run(plan: Plan) -> Outcome:
    """Have a plan happen."""
    return World(plan).run()


def settings_of(plan: Plan) -> Settings:
    """The settings of the plan's gateways."""
    # Where nobody may operate it, a gateway keeps no history, which takes a third of a run's time.
    is_operated = any(isinstance(event, Operate) for event in plan.events)
    given = {
        "workers": tuple(f"http://{one.name}" for one in plan.workers),
        "ui": False,
        "host": "127.0.0.1" if is_operated else "0.0.0.0",  # noqa: S104 - nothing is bound
        **({"redis_url": URL} if plan.replicas > 1 else {}),
        **plan.settings,
    }
    return Settings(**given)


class World:
    """Everything there is in one run."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._settings = settings_of(plan)
        self._loop = VirtualLoop(Random(f"{plan.seed} network"), is_coarse=plan.has_coarse_clock)
        self._record = Record()
        self._outcome = Outcome(plan, self._settings, self._record)
        rng = Random(f"{plan.seed} workers")
        self._workers = {
            spec.name: SimulatedWorker(
                spec, loop=self._loop, rng=rng, record=self._record, bound_s=detection_s(self._settings)
            )
            for spec in plan.workers
        }
        self._sources: list[SimulatedSource] = []
        self._absent: dict[str, Trouble] = {}
        self._drained: dict[str, Trouble] = {}
        self._background: set[asyncio.Task[Any]] = set()

    def run(self) -> Outcome:
        """Have everything happen; the world can't be used again."""
        asyncio.set_event_loop(self._loop)
        with (
            warnings.catch_warnings(record=True) as warned,
            telling(self._loop, has_network=self._plan.replicas > 1),
            quick_and_quiet(self._record, lambda: self._loop.elapsed_s),
        ):
            warnings.simplefilter("always")
            try:
                self._loop.run_until_complete(self._live())
            except Stuck as stuck:
                self._outcome.stuck = str(stuck)
            finally:
                self._end()
            gc.collect(0)
        for warning in warned:
            self._outcome.left.append(f"warned: {warning.message}")
        for complaint in self._loop.complaints:
            told = complaint.get("exception") or ""
            self._record.bugs.append(Note(self._loop.elapsed_s, "event loop", f"{complaint['message']} {told!r}"))
        self._outcome.took_s = self._loop.elapsed_s
        return self._outcome

    def _end(self) -> None:
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            try:
                self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            except Stuck as stuck:
                self._outcome.stuck = self._outcome.stuck or f"at the end: {stuck}"
        asyncio.set_event_loop(None)
        self._loop.close()

    async def _live(self) -> None:
        self._shared = SharedCache(self._loop, Random(f"{self._plan.seed} shared cache"))
        replicas = [self._replica(number) for number in range(self._plan.replicas)]
        self._replicas = replicas
        self._clients = Clients(
            loop=self._loop,
            replicas=replicas,
            record=self._record,
            has_presence=self._plan.has_presence,
            deadline_s=self._settings.deadline_s,
        )
        async with AsyncExitStack() as stack:
            for replica in replicas:
                await stack.enter_async_context(replica.running())
            began = self._loop.now + SETTLING_S
            for event in sorted(self._plan.events, key=lambda event: event.at):
                self._loop.call_at(began + event.at, self._happen, event)
            await asyncio.sleep(SETTLING_S + _duration_s(self._plan) + _LITTLE_S)
            await self._calm_down()
            self._look_for_leftovers()
        await asyncio.sleep(0)
        me = asyncio.current_task()
        self._outcome.left += [f"a task after the end: {_named(one)}" for one in asyncio.all_tasks() if one is not me]
        for name, worker in self._workers.items():
            if worker.in_flight:
                self._outcome.left.append(f"{worker.in_flight} calls to {name} after the end")

    async def _calm_down(self) -> None:
        """Wait until nobody waits any more and everybody has to be well; then look whether they are."""
        for replica in self._replicas:
            for worker in replica.engine.registry.workers:
                if worker.is_drained:
                    worker.is_drained = False
        self._note("operator", "undrains all workers; all faults are over")
        self._mend()
        self._drained.clear()
        # A call that a hanging worker swallowed is the last to tell: at its deadline, if no other worker could take it.
        wait_s = self._settings.deadline_s + _LITTLE_S + recovery_s(self._settings)
        await asyncio.sleep(wait_s)
        self._outcome.quiet_at = self._loop.now
        self._outcome.unwell = [told for replica in self._replicas for told in self._unwell(replica)]
        if self._clients.tasks:
            await asyncio.wait(self._clients.tasks, timeout=_LITTLE_S)
        asked = [
            Ask(at=0, model=model, query=999, first=997, documents=_LAST_DOCUMENTS, replica=number, key=self._a_key())
            for number, replica in enumerate(self._replicas)
            if self._loop.now < replica.closes_at
            for model in self._models_there()
        ]
        done = [await self._clients.ask(ask) for ask in asked]
        self._outcome.last = [one for one in done if one]

    def _look_for_leftovers(self) -> None:
        left = self._outcome.left
        left += [f"a client still waits: {task.get_name()}" for task in self._clients.tasks]
        for replica in self._replicas:
            engine, name = replica.engine, f"gateway {replica.number + 1}"
            counts = {
                "chunks wait for a slot": engine.scheduler.waiting,
                "documents are queued": engine.scheduler.waiting_documents,
                "documents are pending": engine.admission.pending_documents,
                "pairs are under way": engine.singleflight.pairs,
                "bytes of bodies are held": _bytes_in_flight(replica),
            }
            left += [f"{count} {what} at {name}" for what, count in counts.items() if count]
            for worker in engine.registry.workers:
                held = (worker.calls, worker.documents, worker.tokens)
                if held != (0, 0, 0):
                    left.append(f"{name} still counts {held} calls, documents and tokens on {worker.name}")

    def _unwell(self, replica: Replica) -> list[str]:
        """The workers that are there, but not to a gateway."""
        known = {worker.name: worker for worker in replica.engine.registry.workers}
        told = []
        for name, worker in self._workers.items():
            if not worker.is_up or name in self._absent:
                continue
            seen = known.get(name)
            where = f"gateway {replica.number + 1}"
            if seen is None:
                told.append(f"{where} doesn't know {name}")
            elif not seen.is_usable or seen.problem:
                told.append(
                    f"{where} can't use {name}: {seen.problem.redacted if seen.problem else seen.breaker.state}"
                )
            elif seen.backs_off_until > self._loop.now:
                told.append(f"{where} lets {name} rest for {seen.backs_off_until - self._loop.now:.0f} s more")
            else:
                told += [
                    f"{where} gives {name} no work: nothing is usable of {model}"
                    for model, mark in seen.serves.items()
                    if seen not in replica.engine.registry.usable(mark)
                ]
        return told

    def _models_there(self) -> list[str]:
        there = [worker for name, worker in self._workers.items() if worker.is_up and name not in self._absent]
        return sorted({model for worker in there for model in worker.spec.models})

    def _a_key(self) -> str:
        return next(iter(self._settings.api_keys), "anonymous")

    def _replica(self, number: int) -> Replica:
        seen = {f"http://{one.name}": True for one in self._plan.workers if one.is_there}
        source = SimulatedSource(seen)
        self._sources.append(source)
        for one in self._plan.workers:
            if not one.is_there and one.name not in self._absent:
                self._absent[one.name] = self._problem(one.name, "not there yet")
        replica = Replica(
            number,
            self._settings,
            link=lambda url, _: SimulatedLink(
                self._workers[url.removeprefix("http://")], number, loop=self._loop, record=self._record
            ),
            search=lambda *_: [source],
            rng=Random(f"{self._plan.seed} gateway {number}"),
        )
        count = replica.engine.metrics.retry_denied

        def note_denied() -> None:
            self._record.denied.append(self._loop.now)
            count()

        replica.engine.metrics.retry_denied = note_denied  # type: ignore[method-assign]  # counted on, and written down
        return replica

    # What happens

    def _happen(self, event: Event) -> None:
        match event:
            case Ask() | Loop():
                self._clients.begin(event)
            case Fault():
                self._begin(event)
            case Replace():
                self._replace(event)
            case Discover():
                self._discover(event)
            case Operate():
                self._operate(event)
            case Measure():
                self._record.sizes += [sizes_of(replica) for replica in self._replicas]
            case Standstill():
                since = self._loop.now
                self._loop.stand_still(event.lasts_s)
                self._record.standstills.append((since, self._loop.now))
                self._note("gateway", f"stood still for {event.lasts_s:g} s")
            case Shared():
                self._note("shared cache", f"{event.problem} for {event.lasts_s:g} s")
                self._shared.problem(event.problem, event.lasts_s)

    def _begin(self, fault: Fault) -> None:
        worker, problem = self._workers[fault.worker], self._problem(fault.worker, fault.kind, fault.amount)
        worker.begin(fault)
        what = "" if fault.kind in {"down", "freeze", "slow"} else f" ({fault.route})"
        self._note(fault.worker, f"begins: {fault.kind}{what} for {fault.lasts_s:g} s, amount {fault.amount:g}")

        def end() -> None:
            worker.end(fault)
            problem.until = self._loop.now
            self._note(fault.worker, f"ends: {fault.kind}{what}")

        self._loop.call_later(fault.lasts_s, end)

    def _replace(self, event: Replace) -> None:
        worker, problem = self._workers[event.worker], self._problem(event.worker, "replaced")
        worker.go_down()
        self._note(event.worker, f"goes down to be replaced, for {event.down_s:g} s")

        def end() -> None:
            worker.come_up(weights=event.weights, version=event.version)
            problem.until = self._loop.now
            self._note(event.worker, f"is back with weights {worker.weights}, version {worker.version}")

        self._loop.call_later(event.down_s, end)

    def _discover(self, event: Discover) -> None:
        url = f"http://{event.worker}"
        for source in self._sources:
            if event.seen == "gone":
                source.hide(url)
            else:
                source.show(url, is_ready=event.seen == "ready")
        self._note("discovery", f"sees {event.worker} {event.seen}")
        if event.seen != "ready" and event.worker not in self._absent:
            self._absent[event.worker] = self._problem(event.worker, event.seen)
        elif event.seen == "ready" and event.worker in self._absent:
            self._absent.pop(event.worker).until = self._loop.now

    def _operate(self, event: Operate) -> None:
        replica = self._replicas[event.replica % len(self._replicas)]
        self._note("operator", f"orders {event.order} {event.subject} at gateway {replica.number + 1}")
        match event.order:
            case "stop":
                replica.drain.has_begun = True
                replica.closes_at = self._loop.now + self._settings.drain_s
            case "reload":
                replica.keys.replace(self._settings.keys)
            case "flush":
                self._record.flushes.append((self._loop.now, event.subject))
                self._send(replica, "/admin/cache/flush", {"model": event.subject})
            case "drain":
                self._drained.setdefault(event.subject, self._problem(event.subject, "drained"))
                self._send(replica, "/admin/workers/drain", {"worker": event.subject, "force": True})
            case "undrain":
                if drained := self._drained.pop(event.subject, None):
                    drained.until = self._loop.now
                self._send(replica, "/admin/workers/undrain", {"worker": event.subject})

    def _send(self, replica: Replica, path: str, content: dict[str, Any]) -> None:
        task = self._loop.create_task(order(replica, path, content))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _mend(self) -> None:
        for drained in self._drained.values():
            drained.until = self._loop.now

    def _problem(self, worker: str, kind: str, amount: float = 0.0) -> Trouble:
        problem = Trouble(worker, kind, self._loop.now, amount=amount)
        self._record.problems.append(problem)
        return problem

    def _note(self, who: str, what: str) -> None:
        self._record.notes.append(Note(self._loop.elapsed_s, who, what))


def recovery_s(settings: Settings) -> float:
    """Seconds after the last fault within which every worker that is up has to be usable."""
    # A probe that began before may fail as late as it can; who only rests is asked at the usual interval.
    failing_s, resting_s = settings.probe_timeout_s + _LONGEST_PAUSE_S, 1.2 * settings.probe_interval_s
    return max(failing_s, resting_s) + settings.probe_timeout_s + _LITTLE_S


def detection_s(settings: Settings) -> float:
    """Seconds within which a probe has to tell new weights that nothing else told of."""
    return 5 * 1.2 * settings.probe_interval_s + 2 * settings.probe_timeout_s + _LITTLE_S


def _duration_s(plan: Plan) -> float:
    """Until the last event has begun and ended."""
    return max((event.at + _lasts_s(event) for event in plan.events), default=0.0)


def _lasts_s(event: Event) -> float:
    if isinstance(event, Replace):
        return event.down_s
    return event.lasts_s if isinstance(event, Fault | Loop | Shared | Standstill) else 0.0


def _bytes_in_flight(replica: Replica) -> int:
    lines = replica.engine.metrics.render().decode().splitlines()
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(_BYTES))


def _named(task: asyncio.Task[Any]) -> str:
    coroutine = task.get_coro()
    return getattr(coroutine, "__qualname__", repr(coroutine))
