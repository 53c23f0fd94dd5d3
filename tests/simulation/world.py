"""The world of one run: gateways, workers, clients and operators on one virtual clock, after a plan."""

import asyncio
import gc
import warnings
from contextlib import AsyncExitStack
from random import Random
from typing import Any

from app.settings import Settings
from tests.simulation.aftermath import leftovers, named, still_busy, unwell
from tests.simulation.clients import Clients, order
from tests.simulation.clock import Stuck, VirtualLoop, telling
from tests.simulation.discovery import SimulatedSource
from tests.simulation.links import DirectLink, NetworkLink
from tests.simulation.outcome import LITTLE_S, SETTLING_S, Outcome, detection_s, recovery_s
from tests.simulation.plan import (
    Ask,
    Discover,
    Event,
    Fault,
    Loop,
    Measure,
    Operate,
    Plan,
    Replace,
    Shared,
    Standstill,
    duration_s,
)
from tests.simulation.record import Note, Record, Trouble
from tests.simulation.replica import Replica, quick_and_quiet
from tests.simulation.shared_cache import URL, SharedCache
from tests.simulation.sizes import sizes_of
from tests.simulation.worker_front import serve_over_network
from tests.simulation.workers import SimulatedWorker

_LAST_DOCUMENTS = 3


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
            telling(self._loop, has_network=self._plan.replicas > 1 or self._plan.is_over_network),
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
        if self._plan.is_over_network:
            serve_over_network(self._workers.values(), self._loop, self._record, Random(f"{self._plan.seed} wire"))
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
            await asyncio.sleep(SETTLING_S + duration_s(self._plan) + LITTLE_S)
            await self._calm_down()
            self._outcome.left += [f"a client still waits: {task.get_name()}" for task in self._clients.tasks]
            self._outcome.left += leftovers(replicas)
        # Over a network, workers hear a little later that connections were closed.
        await asyncio.sleep(LITTLE_S if self._plan.is_over_network else 0)
        me = asyncio.current_task()
        self._outcome.left += [f"a task after the end: {named(one)}" for one in asyncio.all_tasks() if one is not me]
        self._outcome.left += still_busy(self._workers.values())

    async def _calm_down(self) -> None:
        """Wait until nobody waits any more and everybody has to be well; then look whether they are."""
        for replica in self._replicas:
            for worker in replica.engine.registry.workers:
                if worker.is_drained:
                    worker.is_drained = False
        self._note("operator", "undrains all workers; all faults are over")
        while self._drained:
            self._drained.popitem()[1].until = self._loop.now
        # A call that a hanging worker swallowed is the last to tell: at its deadline, if no other worker could take it.
        wait_s = self._settings.deadline_s + LITTLE_S + recovery_s(self._settings)
        await asyncio.sleep(wait_s)
        self._outcome.quiet_at = self._loop.now
        there = [worker.name for worker in self._workers_there()]
        self._outcome.unwell = [told for replica in self._replicas for told in unwell(replica, there, self._loop.now)]
        if self._clients.tasks:
            await asyncio.wait(self._clients.tasks, timeout=LITTLE_S)
        asked = [
            Ask(at=0, model=model, query=999, first=997, documents=_LAST_DOCUMENTS, replica=number, key=self._a_key())
            for number, replica in enumerate(self._replicas)
            if self._loop.now < replica.closes_at
            for model in self._models_there()
        ]
        done = [await self._clients.ask(ask) for ask in asked]
        self._outcome.last = [one for one in done if one]

    def _workers_there(self) -> list[SimulatedWorker]:
        return [worker for name, worker in self._workers.items() if worker.is_up and name not in self._absent]

    def _models_there(self) -> list[str]:
        return sorted({model for worker in self._workers_there() for model in worker.spec.models})

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
            link=lambda url, _: (NetworkLink if self._plan.is_over_network else DirectLink)(
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

    def _problem(self, worker: str, kind: str, amount: float = 0.0) -> Trouble:
        problem = Trouble(worker, kind, self._loop.now, amount=amount)
        self._record.problems.append(problem)
        return problem

    def _note(self, who: str, what: str) -> None:
        self._record.notes.append(Note(self._loop.elapsed_s, who, what))
