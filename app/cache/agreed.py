"""What replicas have to agree on to know each other's scores: generations of models, and names of weights."""

from collections.abc import Collection, Mapping

from app.policy.drift import same_weights

# No model's name begins like this.
_WEIGHTS = "\0weights "


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


class Weights:
    """Names for weights: the scores of the probe's fixed pairs, as whoever names them first saw them.

    The same weights don't always give quite the same scores, so two replicas may have two names for them. Of all names
    that can mean the same, everybody goes by the smallest.
    """

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._chosen: dict[str, str] = {}

    def name(self, own: str) -> str:
        """The common name of weights that this process calls `own`."""
        if own not in self._chosen:
            self._add({own})
            self._chosen[own] = min(other for other in self._names if _mean_the_same(own, other))
        return self._chosen[own]

    def merge(self, known: Collection[str]) -> Collection[str]:
        """Take over the names in `known`; those that are missing there are given back."""
        self._add(known)
        return self._names.difference(known)

    def _add(self, names: Collection[str]) -> None:
        if not self._names.issuperset(names):
            self._names.update(names)
            self._chosen.clear()


def merge(generations: Generations, weights: Weights, known: Mapping[str, int]) -> Mapping[str, int]:
    """Take over what replicas have written down for each other; what has to be added is given back."""
    names = {field.removeprefix(_WEIGHTS) for field in known if field.startswith(_WEIGHTS)}
    numbers = {model: number for model, number in known.items() if not model.startswith(_WEIGHTS)}
    return {**generations.merge(numbers), **{_WEIGHTS + name: 1 for name in weights.merge(names)}}


def _mean_the_same(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return same_weights(_scores(one), _scores(other))
    except ValueError:
        # Another release of the gateway may have other pairs.
        return False


def _scores(name: str) -> list[float]:
    return [float(score) for score in name.split(",")]
