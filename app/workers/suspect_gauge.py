"""The gauge of suspect models, read at every scrape."""

import re
from functools import partial
from typing import get_args

from app.cache.check_results import CheckResults
from app.errors import NotFinite
from app.policy.check_verdict import Reason
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.metrics.catalog import workers as catalog
from app.workers.registry import Registry

# Workers tell names of models. Those that could be no operator's words, and those beyond so many, are shown as one.
_SHOWN_NAME = re.compile(r"[\w./:@+-]{1,200}", re.ASCII)
_MOST_MODELS = 100
_OTHER = "other"


class SuspectGauge:
    """Shows for each model and reason whether workers serve it wrongly.

    Args:
        registry: The workers.
        results: What checks have found.
        settings: Name models that are shown whatever their name looks like.
        metrics: Where it is shown.
    """

    def __init__(self, registry: Registry, results: CheckResults, settings: Settings, metrics: Metrics) -> None:
        self._registry = registry
        self._results = results
        self._settings = settings
        self._metrics = metrics
        self._shown: set[str] = set()
        self._suspects: set[tuple[str, Reason]] | None = None
        metrics.declare(catalog.SUSPECT)
        registry.on_change(self.refresh)

    def refresh(self) -> None:
        """Look anew which models are suspect, when somebody asks."""
        self._suspects = None

    def show(self, model: str) -> None:
        """Show from now on whether the model is suspect."""
        if model in self._shown:
            return
        is_plain = _SHOWN_NAME.fullmatch(model) and len(self._shown) < _MOST_MODELS
        label = model if is_plain or model in self._settings.models else _OTHER
        if label not in self._shown:
            self._shown.add(label)
            self.refresh()
            for reason in get_args(Reason):
                self._metrics.read(catalog.SUSPECT, partial(self._is_suspect, label, reason), label, reason)

    def _is_suspect(self, label: str, reason: Reason) -> bool:
        if self._suspects is None:
            self._suspects = self._find_suspects()
        return (label, reason) in self._suspects

    def _find_suspects(self) -> set[tuple[str, Reason]]:
        """The labels of all suspect models, with the reasons: one way through all workers does for all series."""
        suspects: set[tuple[str, Reason]] = set()
        for worker in self._registry.workers:
            serves = worker.says if isinstance(worker.problem, NotFinite) else worker.serves
            for model, fingerprint in serves.items():
                result = self._results.of(fingerprint)
                if result and result.suspicion:
                    suspects.add((model if model in self._shown else _OTHER, result.suspicion))
        return suspects
