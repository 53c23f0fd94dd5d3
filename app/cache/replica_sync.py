"""Replica sync: generations of models and names of weights, on which replicas agree to share scores."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from math import isfinite

from app.policy.model_change import distance, same_weights
from app.types import Fingerprint

# Weights that one model can have at a time, as far as replicas care: beyond, the oldest names are forgotten.
_MOST_NAMES = 8
# Models, versions and lengths in use at a time, as above.
_MOST_FINGERPRINTS = 64


class Generations:
    """The generation of each model, a number inside the digests: a higher one makes all earlier scores unknown.

    It is the time of the last flush in milliseconds, so that it rises whichever replica sets it.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def of(self, model: str) -> int:
        """The model's generation."""
        return self._numbers.get(model, 0)

    def known(self) -> dict[str, int]:
        """The generations of all models that were flushed."""
        return dict(self._numbers)

    def flush(self, model: str, now: float) -> None:
        """Begin a new generation of a model."""
        self._numbers[model] = max(int(now * 1000), self.of(model) + 1)

    def merge(self, known: Mapping[str, int]) -> Mapping[str, int]:
        """Take over the newer generations in `known`. Returns those that are newer here."""
        for model, number in known.items():
            self._numbers[model] = max(number, self.of(model))
        return {model: number for model, number in self._numbers.items() if number > known.get(model, 0)}


class WeightNames:
    """The names of weights: the scores of the probe's fixed pairs, as the first replica to name them saw them.

    The same weights don't always give quite the same scores, so two replicas may have two names for them. For each
    model, version and length they keep a short list of names, on which each finds the one that can mean its weights, or
    writes its own. Two names that this replica has for weights that differ never become one.
    """

    def __init__(self) -> None:
        # By fingerprint without weights; those in use last are at the end.
        self._names: OrderedDict[Fingerprint, _Names] = OrderedDict()
        self._used: set[Fingerprint] = set()
        self._agreed: dict[Fingerprint, Fingerprint] = {}

    def agreed(self, fingerprint: Fingerprint) -> Fingerprint | None:
        """The fingerprint with the name that replicas have for its weights; None when it has to be `add`ed."""
        return self._agreed.get(fingerprint)

    def add(self, fingerprint: Fingerprint) -> Fingerprint:
        """Add a fingerprint, whose weights replicas will agree to name. Returns it with that name; at first its own."""
        bare = fingerprint._replace(probe_scores="")
        names = self._names.setdefault(bare, _Names())
        names.add(fingerprint.probe_scores)
        self._used.add(bare)
        self._names.move_to_end(bare)
        if len(self._names) > _MOST_FINGERPRINTS:
            self._names.popitem(last=False)
            self._agree()
        self._agreed[fingerprint] = bare._replace(probe_scores=names.agreed[fingerprint.probe_scores])
        return self._agreed[fingerprint]

    def fingerprints(self) -> Sequence[Fingerprint]:
        """The fingerprints, without weights, for which there are names."""
        return list(self._names)

    def merge(self, listed: Mapping[Fingerprint, Sequence[str]]) -> Mapping[Fingerprint, Sequence[str]]:
        """Take over the lists of names. Returns those that lacked a name of this replica, with it added."""
        longer = {}
        for bare, names in listed.items():
            own = self._names.get(bare)
            if own and own.merge(names):
                longer[bare] = own.listed
        self._agree()
        return longer

    def in_use(self) -> Mapping[Fingerprint, Sequence[str]]:
        """The lists of names that were used since this was last asked; the others are forgotten."""
        for bare in self._names.keys() - self._used:
            del self._names[bare]
        self._used.clear()
        # A fingerprint that is used again will be added again.
        self._agreed.clear()
        return {bare: names.listed for bare, names in self._names.items() if names.listed}

    def _agree(self) -> None:
        self._agreed = {
            one: one._replace(probe_scores=names.agreed[one.probe_scores])
            for one in self._agreed
            if (names := self._names.get(one._replace(probe_scores=""))) and one.probe_scores in names.agreed
        }


class _Names:
    """The names for the weights of one model, version and length: this replica's own, and those all have listed."""

    def __init__(self) -> None:
        self.listed: Sequence[str] = ()
        self.agreed: dict[str, str] = {}

    def add(self, own: str) -> None:
        """Add a name of this replica."""
        self._agree([*self.agreed, own][-_MOST_NAMES:])

    def merge(self, listed: Sequence[str]) -> bool:
        """Take over the list that replicas share. Returns whether it lacked a name of this one, which is then added."""
        self.listed = listed[-_MOST_NAMES:]
        self._agree(list(self.agreed))
        missing = [name for name in self.agreed.values() if name not in self.listed]
        self.listed = [*self.listed, *missing][-_MOST_NAMES:]
        return bool(missing)

    def _agree(self, own: Sequence[str]) -> None:
        """Find each own name's nearest on the list; what is listed goes to one own name only."""
        near = [(gap, name, other) for name in own for other in self.listed if (gap := _gap(name, other)) is not None]
        found: dict[str, str] = {}
        for _, name, other in sorted(near):
            if name not in found and other not in found.values():
                found[name] = other
        self.agreed = {name: found.get(name, name) for name in own}


def _gap(one: str, other: str) -> float | None:
    """The distance of two names; None when they can't mean the same weights."""
    if one == other:
        return 0.0
    a, b = _scores(one), _scores(other)
    # Another release of the gateway may have other pairs.
    return distance(a, b) if a and len(a) == len(b) and same_weights(a, b) else None


def _scores(name: str) -> list[float]:
    """The scores that a name consists of; empty when it is something else."""
    try:
        scores = [float(score) for score in name.split(",")]
    except ValueError:
        return []
    return scores if all(map(isfinite, scores)) else []
