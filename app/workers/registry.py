"""The registry of all workers, by the models they serve."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from app.errors import AllMisconfigured, BadInput, FingerprintGone, Misconfigured, NotProbed, NoWorker, UnknownModel
from app.settings import Settings
from app.types import Fingerprint
from app.workers.discovery.source import Source
from app.workers.lexical import LEXICAL_MODEL
from app.workers.model_names import ModelNames
from app.workers.worker import Worker

# Long enough for a probe that is under way.
_RETRY_AFTER_S = 1.0
_REASON_CHARS = 300
_NAMES = 5


class Registry:
    """Tells which workers there are, which models they serve, and which are usable.

    Workers join and leave as their sources see them come and go; one that left gets no more work.

    Args:
        sources: The places where workers are found.
        settings: Model names, aliases and waiting times.
    """

    def __init__(self, sources: Sequence[Source], settings: Settings) -> None:
        self.sources = sources
        self.workers: Sequence[Worker] = ()
        self.was_ever_usable = False
        self._settings = settings
        self._names = ModelNames(settings.models)
        self._changed = asyncio.Event()
        self._watchers: list[Callable[[], None]] = []
        # Each request asks for all three, each chunk for the first several times. They hold until something changes:
        # with a thousand workers each takes longer than all the rest of a request.
        self._usable: dict[Fingerprint, Sequence[Worker]] = {}
        self._models: dict[str, Fingerprint] = {}
        self._commonest: dict[str, Fingerprint | None] = {}

    def on_change(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` after every change of a worker's state, and when one joined or left."""
        self._watchers.append(watcher)

    def join(self, worker: Worker) -> None:
        """Add a worker, which from now on reports its changes itself."""
        self.workers = (*self.workers, worker)
        worker.on_change(lambda: self._change(worker))
        self._change(worker)

    def leave(self, worker: Worker) -> None:
        """Remove a worker."""
        self.workers = tuple(other for other in self.workers if other is not worker)
        worker.on_change(None)
        self._change(worker)

    def depending_on(self, worker: Worker) -> list[str]:
        """The models that no usable worker serves but this one."""
        others = {model for other in self.workers if other is not worker and other.is_usable for model in other.serves}
        return sorted(worker.serves.keys() - others) if worker.is_usable else []

    def models(self) -> Mapping[str, Fingerprint]:
        """The models that workers serve or last served, under their own names and their aliases."""
        if not self._models:
            served = {model: fingerprint for worker in self.workers for model, fingerprint in worker.serves.items()}
            aliases = {alias: served[model] for alias, model in self._names.aliases.items() if model in served}
            self._models = aliases | served
        return self._models

    def usable(self, fingerprint: Fingerprint) -> Sequence[Worker]:
        """The workers that can take a chunk of this fingerprint now."""
        found = self._usable.get(fingerprint)
        if found is None:
            found = self._usable[fingerprint] = [
                w for w in self.workers if w.is_usable and w.serves.get(fingerprint.model) == fingerprint
            ]
        return found

    def serves_now(self, asked: str | None) -> bool:
        """True when a usable worker serves the model that was asked for; any model, when none was."""
        model = self._model_of(asked) if asked else None
        return any(w.is_usable and (model is None or model in w.serves) for w in self.workers)

    @property
    def may_be_empty(self) -> bool:
        """True when there is no worker, as all sources say, and a model of the settings may be scaled to zero."""
        is_empty = not self.workers and all(source.has_answered for source in self.sources)
        return is_empty and any(own.scales_to_zero for own in self._settings.models.values())

    def configured(self, asked: str | None) -> str | None:
        """The model of the settings that is meant; None when it stands in no settings."""
        own = self._settings.models
        if asked is None or not asked:
            return self._settings.default_model or (next(iter(own)) if len(own) == 1 else None)
        model = self._names.model_of(asked)
        return model if model in own else None

    def rules_out(self, asked: str | None) -> bool:
        """True when it is known which models there are, and that the one asked for isn't among them.

        It isn't known before the first probe of each worker has ended.
        """
        return bool(self.models()) and self._are_all_probed() and not self._is_named(asked)

    def problems(self) -> str:
        """The reasons why workers can't be used, or weren't found."""
        reasons = [source.problem for source in self.sources if source.problem]
        reasons += [worker.problem.redacted for worker in self.workers if worker.problem]
        return "; ".join(reasons)[:_REASON_CHARS]

    async def resolve(self, asked: str | None, *, until: float) -> str:
        """The name under which workers serve the model that was asked for.

        Args:
            asked: A model's name or alias; None or "" for the only or the default model.
            until: How long to wait, on the loop's clock, while workers that may serve it haven't been probed, or no
                worker has said what it serves.

        Raises:
            UnknownModel: no worker serves it.
            BadInput: none was asked for and there are several.
            NoWorker: it isn't known what is served.
        """
        name = asked or None
        while not (known := self.models()) or not (self._is_exact(name) or self._are_all_probed()):
            await self._wait_for_change(until, name)
        if name is None:
            names = sorted({fingerprint.model for fingerprint in known.values()})
            name = names[0] if len(names) == 1 else self._settings.default_model
        if name is None:
            message = f"model is missing and there are several ({_listed(known)}): name one in the body or as ?model="
            raise BadInput(message, param="model")
        if not self._is_named(name):
            raise UnknownModel(
                f"The model `{name[:80]}` does not exist here; there is {_listed(known)}.", param="model"
            )
        return self._model_of(name)

    async def pin(self, model: str, *, until: float) -> Fingerprint:
        """The fingerprint a request is bound to: the one most usable workers have.

        Raises:
            NoWorker: no worker that serves the model became usable in time.
            AllMisconfigured: none can, since all are misconfigured.
        """
        while not (fingerprint := self._commonest_fingerprint(model)):
            await self._wait_for_change(until, model)
        return fingerprint

    def fingerprints(self, model: str) -> Sequence[Fingerprint]:
        """The fingerprints with which usable workers serve a model, those that most have first."""
        counts = Counter(w.serves[model] for w in self.workers if w.is_usable and model in w.serves)
        return [fingerprint for fingerprint, _ in counts.most_common()]

    async def wait_for_usable(self, fingerprint: Fingerprint, *, until: float) -> None:
        """Wait until a worker of this fingerprint is usable.

        Raises:
            FingerprintGone: there is none, but the model is served with another fingerprint.
            NoWorker: the model had no usable worker until then.
            AllMisconfigured: none can, since all are misconfigured.
        """
        while not self.usable(fingerprint):
            if self._commonest_fingerprint(fingerprint.model):
                raise FingerprintGone
            await self._wait_for_change(until, fingerprint.model)

    def _change(self, worker: Worker) -> None:
        """Drop everything derived from the workers' states, after a change of one, and wake those that wait."""
        self._usable.clear()
        self._commonest.clear()
        self._models = {}
        self.was_ever_usable = self.was_ever_usable or worker.is_usable
        self._changed.set()
        self._changed = asyncio.Event()
        for watcher in self._watchers:
            watcher()

    def _model_of(self, asked: str) -> str:
        """The name under which workers serve what was asked for; the asked name itself when it is unknown."""
        if known := self.models().get(asked):
            return known.model
        model = self._names.model_of(asked)
        # The embedded worker stands in for any model, so that clients with a fixed one can be tried out.
        takes_any = not self._settings.workers and LEXICAL_MODEL in self.models()
        return LEXICAL_MODEL if model is None and takes_any else model or asked

    def _is_named(self, asked: str | None) -> bool:
        name = self._model_of(asked) if asked else None
        return name is None or name in self.models() or name in self._settings.models

    def _is_exact(self, asked: str | None) -> bool:
        """True if the name needs no pattern: one fits only names that no worker turns out to serve."""
        return asked is None or asked in self.models() or self._names.are_exact_for(asked)

    def _are_all_probed(self) -> bool:
        return not any(isinstance(worker.problem, NotProbed) for worker in self.workers)

    def _commonest_fingerprint(self, model: str) -> Fingerprint | None:
        """The fingerprint that most usable workers of a model have, of several the first; None without such workers."""
        if model not in self._commonest:
            self._commonest[model] = next(iter(self.fingerprints(model)), None)
        return self._commonest[model]

    async def _wait_for_change(self, until: float, asked: str | None) -> None:
        if self.workers and all(isinstance(worker.problem, Misconfigured) for worker in self.workers):
            raise AllMisconfigured(f"No worker can be used: {self.problems()}.")
        try:
            async with asyncio.timeout_at(until):
                await self._changed.wait()
        except TimeoutError:
            message = f"No worker is usable now: {self.problems()}."
            raise NoWorker(message, retry_after_s=self._start_s(asked) or self._next_probe_s()) from None

    def _start_s(self, asked: str | None) -> float | None:
        """Seconds that a model of the settings takes to start when it has no worker at all; None when it has some."""
        model = self.configured(asked)
        sources_know = all(source.has_answered for source in self.sources)
        if model is None or not sources_know or any(w.problem or model in w.serves for w in self.workers):
            return None
        return self._settings.models[model].start_s

    def _next_probe_s(self) -> float:
        """Seconds until a probe may find a worker usable again."""
        now = asyncio.get_running_loop().time()
        return max(_RETRY_AFTER_S, min((worker.breaker.probe_at for worker in self.workers), default=now) - now)


def _listed(known: Mapping[str, object]) -> str:
    names = sorted(known)
    return ", ".join(names[:_NAMES]) + (f" and {len(names) - _NAMES} more" if len(names) > _NAMES else "")
