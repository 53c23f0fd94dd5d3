"""The results of model checks, by fingerprint; replicas share them, so that one check does for all."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from app.cache.replica_sync import WeightNames
from app.policy.check_verdict import CheckResult
from app.types import Fingerprint

# A worker that lists other models each time must not fill memory: those asked for least lately are forgotten.
_MOST_RESULTS = 1000


class CheckResults:
    """What is known of each fingerprint, found here or by another replica.

    A result that a model is served rightly stands for good. One that it is suspect gives way to any other, since what
    is served wrongly may be mended.

    Args:
        weight_names: Make the fingerprints those that replicas agree on.
    """

    def __init__(self, weight_names: WeightNames) -> None:
        self._weight_names = weight_names
        self._results: OrderedDict[Fingerprint, CheckResult | None] = OrderedDict()
        self._unwritten: set[Fingerprint] = set()
        self._tell: Callable[[], None] = _tell_nobody

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever another replica's result was taken over."""
        self._tell = listener

    def of(self, fingerprint: Fingerprint) -> CheckResult | None:
        """The result for a fingerprint; None when there is none yet."""
        return self._results.get(fingerprint)

    def want(self, fingerprint: Fingerprint) -> None:
        """Ask other replicas for what they found, at the next exchange."""
        self._results.setdefault(fingerprint, None)
        self._results.move_to_end(fingerprint)
        if len(self._results) > _MOST_RESULTS:
            forgotten, _ = self._results.popitem(last=False)
            self._unwritten.discard(forgotten)

    def found(self, fingerprint: Fingerprint, result: CheckResult) -> None:
        """Keep what a check here has found, and tell other replicas at the next exchange."""
        self.want(fingerprint)
        self._results[fingerprint] = result
        self._unwritten.add(fingerprint)

    def wanted(self) -> Sequence[Fingerprint]:
        """The fingerprints, as replicas agree on them, about which others may know better."""
        open_ones = [one for one, result in self._results.items() if result is None or result.suspicion]
        return list(dict.fromkeys(map(self._agreed, open_ones)))

    def merge(self, known: Mapping[Fingerprint, CheckResult | None]) -> None:
        """Take over what other replicas found, by the fingerprints they agree on."""
        has_changed = False
        for own, result in self._results.items():
            theirs = known.get(self._agreed(own))
            if theirs and theirs != result and own not in self._unwritten and (result is None or result.suspicion):
                self._results[own] = theirs
                has_changed = True
        if has_changed:
            self._tell()

    def take_unwritten(self) -> Mapping[Fingerprint, CheckResult]:
        """The results that other replicas haven't been told, by the fingerprints they agree on."""
        unwritten = {self._agreed(one): result for one in self._unwritten if (result := self._results.get(one))}
        self._unwritten.clear()
        return unwritten

    def _agreed(self, fingerprint: Fingerprint) -> Fingerprint:
        return self._weight_names.agreed(fingerprint) or self._weight_names.add(fingerprint)


def _tell_nobody() -> None:
    """Do nothing: nobody waits for results."""
