"""Simulated workers: what they serve, how long they take, and how each of their routes fails by itself."""

import asyncio
from collections import deque
from random import Random

from app.errors import (
    BadAnswer,
    Busy,
    ClosedBeforeResponse,
    ClosedMidResponse,
    ContentRejected,
    Misconfigured,
    Unavailable,
    Unreachable,
    WorkerError,
)
from app.workers.fingerprinter import PROBE_PREFIX
from app.workers.link import Identity, ServedModel
from tests.simulation import texts
from tests.simulation.clock import VirtualLoop
from tests.simulation.network import Host
from tests.simulation.plan import Fault, Route, WorkerSpec
from tests.simulation.record import Call, Record, Spell

MAX_MODEL_LEN = 512
_NETWORK_S = 0.0005
_MOST_GATEWAYS = 2
_PROBE_S = 1.0
_STALL_S = 1.1


class SimulatedWorker:
    """One worker's process, whoever calls it.

    Args:
        spec: What it is like.
        loop: Whose clock it goes by.
        rng: Says which calls meet a fault that not all meet.
        record: Where its calls are written down.
        bound_s: After how long new weights have to be noticed in any case.
    """

    def __init__(self, spec: WorkerSpec, *, loop: VirtualLoop, rng: Random, record: Record, bound_s: float) -> None:
        self.spec = spec
        self.name = spec.name
        self.weights = 0
        self.version = "1"
        self.faults: list[Fault] = []
        self.in_flight = 0
        # The machine it runs on, where it is reached over the network.
        self.host: Host | None = None
        self._loop = loop
        self._rng = rng
        self._record = record
        self._bound_s = bound_s
        self._downs = 0
        self._busy_lanes = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._pauses: set[asyncio.Future[None]] = set()
        self._frozen_until = 0.0
        # By gateway: until when it can't know that this is another worker than it was.
        self._noticed_at: dict[int, float] = {}
        self._was_refused: set[int] = set()
        record.spells.append(self._spell())

    @property
    def is_up(self) -> bool:
        """Whether its process runs."""
        return not self._downs

    def begin(self, fault: Fault) -> None:
        """Misbehave from now on."""
        self.faults.append(fault)
        if fault.kind == "down":
            self.go_down()
        if fault.kind == "freeze":
            self._frozen_until = max(self._frozen_until, self._loop.now + fault.lasts_s)

    def end(self, fault: Fault) -> None:
        """Stop misbehaving in this way."""
        self.faults.remove(fault)
        if fault.kind == "down":
            self.come_up()

    def go_down(self) -> None:
        """The process dies: whoever waits for an answer loses the connection."""
        self._downs += 1
        self._was_refused.clear()
        for pause in [*self._pauses, *self._waiting]:
            if not pause.done():
                pause.set_exception(ClosedBeforeResponse(f"{self.name} closed the connection without an answer"))
        if self.host:
            self.host.stop()

    def come_up(self, *, weights: int | None = None, version: str | None = None) -> None:
        """It runs again, perhaps as another."""
        self._downs -= 1
        if self.host and self.is_up:
            self.host.start()
        is_other = weights is not None and weights != self.weights
        self.weights = self.weights if weights is None else weights
        self.version = self.version if version is None else version
        if is_other or version is not None:
            self._record.spells.append(self._spell())
        if is_other:
            # Whom it left without an answer knows that it may come back as another. Else the next probe has to tell.
            seen = dict.fromkeys(self._was_refused, self._loop.now)
            self._noticed_at = dict.fromkeys(range(_MOST_GATEWAYS), self._loop.now + self._bound_s) | seen

    async def identify(self, gateway: int | None) -> Identity:
        """What it serves, told after a while; `gateway` is None where its host refuses who comes while it is down."""
        self._refuse_if_down(gateway)
        await self._meet("identify", self.spec.identify_s)
        models = [ServedModel(model, f"/models/{model}", MAX_MODEL_LEN) for model in self.spec.models]
        return Identity(self.version, models)

    async def count_tokens(self, text: str) -> int:
        """How many tokens a text has."""
        self._refuse_if_down(None)
        await self._meet("tokenize", 0.001)
        return len(text.split())

    async def score(self, call: Call) -> list[float]:
        """The scores of a call."""
        self.in_flight += 1
        try:
            scores = await self._score(call)
            call.how = "scored"
        except WorkerError as error:
            call.how = error.outcome
            if isinstance(error, ClosedBeforeResponse):
                self.note_refused(call.gateway)
            raise
        except asyncio.CancelledError:
            call.how = "cancelled"
            raise
        else:
            return scores
        finally:
            call.ended = self._loop.now
            self.in_flight -= 1
            for tell in list(self._record.on_call_end.values()):
                tell()

    async def _score(self, call: Call) -> list[float]:
        self._refuse_if_down(call.gateway)
        late = await self._meet("score", 0.0)
        if any(texts.UNREADABLE in document for document in call.documents):
            raise ContentRejected("this can't be read")
        await self._work(sum(texts.tokens(call.query, document) for document in call.documents))
        if late:
            await self._pause(late)
        if broken := self._met("score", "break"):
            raise ClosedMidResponse(f"{self.name} broke off in the middle of its answer ({broken.kind})")
        if self._met("score", "lie"):
            raise BadAnswer(
                f"{self.name} returned {len(call.documents) - 1} scores for {len(call.documents)} documents"
            )
        noticed_at = self._noticed_at.get(call.gateway, 0.0)
        if call.request_id.startswith(PROBE_PREFIX):
            # What it found counts when the probe is done, which may score for another model yet.
            self._noticed_at[call.gateway] = min(noticed_at, self._loop.now + _PROBE_S)
        elif call.began < noticed_at:
            self._record.tainted.update((self.weights, call.query, document) for document in call.documents)
        return [texts.score(self.weights, call.query, document) for document in call.documents]

    async def _meet(self, route: Route, takes_s: float) -> float:
        """What happens to any call before work begins; how much later than usual its answer comes."""
        if self._met(route, "refuse"):
            raise Unreachable(f"{self.name} refused the connection")
        await self._pause(_NETWORK_S)
        if self._met(route, "reset"):
            raise ClosedBeforeResponse(f"{self.name} closed the connection without an answer")
        if self._met(route, "hang"):
            await self._pause(100_000.0)
        if busy := self._met(route, "busy"):
            raise Busy(f"{self.name} answered 503: busy", retry_after_s=busy.amount or None)
        if self._met(route, "error"):
            raise Unavailable(f"{self.name} answered 500: broken")
        if self._met(route, "misconfigured"):
            raise Misconfigured(f"{self.name} answered 404: no such model")
        if self._met(route, "refuse_content"):
            raise ContentRejected("too long")
        drip = self._met(route, "drip")
        late = drip.amount if drip else 0.0
        if takes_s:
            await self._pause(takes_s * self._slowness() + late)
            await self._thaw()
        return late

    def note_refused(self, gateway: int) -> None:
        """A gateway that couldn't connect, or whose call it left unanswered, knows that it is down, if it is."""
        # What fails just after a standstill is blamed on nobody, and tells nothing.
        if self._downs and not self._record.stood_still(self._loop.now - _STALL_S, self._loop.now):
            self._was_refused.add(gateway)

    def _refuse_if_down(self, gateway: int | None) -> None:
        if self._downs:
            if gateway is not None:
                self.note_refused(gateway)
            raise Unreachable(f"{self.name} refused the connection")

    def _met(self, route: Route, kind: str) -> Fault | None:
        """The fault of this kind that a call meets, if there is one."""
        for fault in self.faults:
            if fault.kind == kind and fault.route in (route, "all"):
                return fault if fault.share >= 1 or self._rng.random() < fault.share else None
        return None

    async def _work(self, tokens: int) -> None:
        """Wait for a lane, and use it as long as the work takes."""
        if self._busy_lanes >= self.spec.lanes:
            turn: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(turn)
            try:
                await turn
            except BaseException:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                elif turn.done() and not turn.cancelled() and not turn.exception():
                    self._free_lane()
                raise
        else:
            self._busy_lanes += 1
        try:
            await self._pause((self.spec.fixed_s + self.spec.per_token_s * tokens) * self._slowness())
            await self._thaw()
        finally:
            self._free_lane()

    def _free_lane(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._busy_lanes -= 1

    def _slowness(self) -> float:
        return max((fault.amount for fault in self.faults if fault.kind == "slow"), default=1.0)

    async def _thaw(self) -> None:
        while self._frozen_until > self._loop.now:
            await self._pause(self._frozen_until - self._loop.now)

    async def _pause(self, seconds: float) -> None:
        """Let time pass, unless the process dies meanwhile."""
        pause: asyncio.Future[None] = self._loop.create_future()
        timer = self._loop.call_at(self._loop.now + seconds, _wake, pause)
        self._pauses.add(pause)
        try:
            await pause
        finally:
            timer.cancel()
            self._pauses.discard(pause)

    def _spell(self) -> Spell:
        return Spell(self.name, self.spec.models, self.weights, self.version, self._loop.now)


def _wake(pause: asyncio.Future[None]) -> None:
    if not pause.done():
        pause.set_result(None)
