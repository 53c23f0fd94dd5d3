"""What replicas have to agree on to know each other's scores: generations of models, and names of weights."""

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
    """Numbers inside the digests, one per model: a higher one makes everything from before unknown.

    They are times of flushes in milliseconds: they rise whoever sets them, and whatever was forgotten meanwhile.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def of(self, model: str) -> int:
        """The model's generation."""
        return self._numbers.get(model, 0)

    def known(self) -> dict[str, int]:
        """Those of all models that were flushed."""
        return dict(self._numbers)

    def flush(self, model: str, now: float) -> None:
        """Begin a new generation."""
        self._numbers[model] = max(int(now * 1000), self.of(model) + 1)

    def merge(self, known: Mapping[str, int]) -> Mapping[str, int]:
        """Take over what is newer in `known`; what is newer here is given back."""
        for model, number in known.items():
            self._numbers[model] = max(number, self.of(model))
        return {model: number for model, number in self._numbers.items() if number > known.get(model, 0)}


class WeightNames:
    """Names for weights: the scores of the probe's fixed pairs, as whoever names them first saw them.

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
        """Have a name agreed on; until then it is the fingerprint's own."""
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
        """Take over the lists of names; those that lack a name of ours are given back with it."""
        longer = {}
        for bare, names in listed.items():
            own = self._names.get(bare)
            if own and own.take(names):
                longer[bare] = own.listed
        self._agree()
        return longer

    def in_use(self) -> Mapping[Fingerprint, Sequence[str]]:
        """The lists of names that were used since this was last asked; the others are forgotten."""
        for bare in self._names.keys() - self._used:
            del self._names[bare]
        self._used.clear()
        # Who is used again will be added again.
        self._agreed.clear()
        return {bare: names.listed for bare, names in self._names.items() if names.listed}

    def _agree(self) -> None:
        self._agreed = {
            one: one._replace(probe_scores=names.agreed[one.probe_scores])
            for one in self._agreed
            if (names := self._names.get(one._replace(probe_scores=""))) and one.probe_scores in names.agreed
        }


class _Names:
    """The names for the weights of one model, version and length: of this replica, and those that all have listed."""

    def __init__(self) -> None:
        self.listed: Sequence[str] = ()
        self.agreed: dict[str, str] = {}

    def add(self, own: str) -> None:
        """One name more of this replica."""
        self._agree([*self.agreed, own][-_MOST_NAMES:])

    def take(self, listed: Sequence[str]) -> bool:
        """Go by this list; whether it lacks a name of ours, which `listed` then has."""
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
    """How far two names are apart; None when they can't mean the same weights."""
    if one == other:
        return 0.0
    a, b = _scores(one), _scores(other)
    # Another release of the gateway may have other pairs.
    return distance(a, b) if a and len(a) == len(b) and same_weights(a, b) else None


def _scores(name: str) -> list[float]:
    """The scores that a name consists of; none when it is something else."""
    try:
        scores = [float(score) for score in name.split(",")]
    except ValueError:
        return []
    return scores if all(map(isfinite, scores)) else []
