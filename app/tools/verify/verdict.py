"""The verdict on a model: whether its lists may be split, and into chunks of which size."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import log2
from statistics import median
from typing import Literal

from app.tools.verify.compare import Measured, compare

Kind = Literal["safe", "precision", "listwise", "not_safe", "workers_differ"]
_RANK: Sequence[Kind] = ("safe", "precision", "not_safe")

# Another batch shape adds the same numbers in another order. That moved scores of a 12-layer model by at most 5e-6 in
# float32, 0.006 in float16 and 0.05 in bfloat16: each bound is twice that, as a share of the largest score above 1.
_FLOAT32, _FLOAT16, _BFLOAT16 = 1e-5, 0.012, 0.1
# Repeats are few: by chance the largest of many other differences is above the largest of these.
_CHANCE = 2
# As above, where a mistake would be an alarm about a model or a worker that is well.
_NO_CHANCE = 4
# Sizes whose speeds are this near to each other are taken as equally fast.
_AS_FAST = 0.9


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a model.

    Args:
        kind: The verdict for programs.
        text: The verdict for people, in one sentence.
        advice: What to do; "" when there is nothing to do.
        max_batch: The recommended `RERANK_MAX_BATCH`; None when the model must not be split.
    """

    kind: Kind
    text: str
    advice: str
    max_batch: int | None

    @property
    def needs_action(self) -> bool:
        """True if the ranking depends on how the workers are set up, so that somebody has to change that."""
        return self.kind in {"not_safe", "workers_differ"}


def judge(workers: Sequence[Measured], *, is_whole: bool, usual_max_batch: int, holds_images: bool = False) -> Verdict:
    """The verdict on a model.

    Args:
        workers: Its workers, at least one.
        is_whole: Whether the settings keep the gateway from splitting the sample's lists.
        usual_max_batch: Recommended unless another size is clearly faster.
        holds_images: Whether the sample's lists do.
    """
    most = max(workers, key=lambda one: (_RANK.index(split_kind(one)), one.splitting))
    kind = split_kind(most)
    setting = "split_images: false" if holds_images else "kind: listwise"
    if kind == "not_safe" and not is_whole:
        return _not_safe(most, setting)
    max_batch = None if kind == "not_safe" else recommended(workers, usual_max_batch)
    agreed, *others = groups(workers)
    if others:
        return _workers_differ(agreed, others, max_batch)
    if kind == "not_safe":
        cause = (
            "scores depend on what else is in the call"
            if holds_images
            else "the model compares documents with each other"
        )
        text = f"listwise: {cause}, and the gateway doesn't split it"
        return Verdict("listwise", text, "", None)
    if kind == "precision":
        name = "float16" if most.splitting <= _FLOAT16 * most.scale else "bfloat16"
        text = f"differs by precision only: near-ties may swap (as {name} rounds)"
    elif most.splitting <= _CHANCE * most.noise:
        text = "safe: splitting changes no more than repeating does"
    else:
        text = f"safe: splitting moves scores by next to nothing ({most.splitting:.1g} at most)"
    advice = f"{setting} in RERANK_MODELS isn't needed: without it the gateway splits lists" if is_whole else ""
    return Verdict(kind, text, advice, max_batch)


def split_kind(worker: Measured) -> Literal["safe", "precision", "not_safe"]:
    """The effect of splitting on one worker by itself."""
    if depends_on_neighbours(worker):
        return "not_safe"
    if worker.splitting <= max(_CHANCE * worker.noise, _FLOAT32 * worker.scale):
        return "safe"
    return "precision" if worker.splitting <= max(_CHANCE * worker.noise, _BFLOAT16 * worker.scale) else "not_safe"


def depends_on_neighbours(worker: Measured) -> bool:
    """True if a document's score changes with the texts beside it by more than repeating changes it."""
    bound = max(_NO_CHANCE * worker.noise, _FLOAT32 * worker.scale)
    return worker.neighbours is not None and worker.neighbours.largest > bound


def groups(workers: Sequence[Measured]) -> list[list[Measured]]:
    """The workers grouped by their scores, the largest group first; all of a group agree with its first."""
    found: list[list[Measured]] = []
    for worker in workers:
        group = next((group for group in found if _agree(group[0], worker)), None)
        if group is None:
            found.append([worker])
        else:
            group.append(worker)
    return sorted(found, key=len, reverse=True)


def recommended(workers: Sequence[Measured], usual: int) -> int:
    """The fastest chunk size, or the one nearest to the usual among those about as fast."""
    # The documents per second of all workers together, by round.
    speeds = {
        size: [sum(each) for each in zip(*(worker.splits[size].documents_per_s for worker in workers), strict=True)]
        for size in workers[0].splits
    }
    fastest = max(map(median, speeds.values()))
    good = [size for size, rounds in speeds.items() if max(rounds) >= _AS_FAST * fastest]
    return min(good, key=lambda size: abs(log2(size / usual)))


def _not_safe(worker: Measured, setting: str) -> Verdict:
    advice = f"set {setting} for the model in RERANK_MODELS, and the gateway no longer splits such lists"
    if depends_on_neighbours(worker):
        text = "not safe: the model compares documents with each other (listwise)"
    else:
        text = f"not safe: splitting moves scores by {worker.splitting:.2g}, which precision doesn't explain"
    return Verdict("not_safe", text, advice, None)


def _workers_differ(agreed: Sequence[Measured], others: Sequence[Sequence[Measured]], max_batch: int | None) -> Verdict:
    standard, causes = agreed[0], {}
    for worker in chain.from_iterable(others):
        gap = compare(standard.unsplit, worker.unsplit).largest
        causes[worker.worker] = "weights" if gap > _BFLOAT16 * standard.scale else "precision"
    told = "; ".join(f"{name} has other {cause} than {standard.worker}" for name, cause in causes.items())
    advice = "start all workers of the model with the same --dtype, on the same hardware if scores shall be the same"
    if "weights" in causes.values():
        advice = "serve the same weights on all workers of a name, or give the others another --served-model-name"
    return Verdict("workers_differ", f"workers differ: same name, but {told}", advice, max_batch)


def _agree(one: Measured, other: Measured) -> bool:
    """True if two workers differ no more than the more precise one differs from itself."""
    return compare(one.unsplit, other.unsplit).largest <= min(_own_difference(one), _own_difference(other))


def _own_difference(worker: Measured) -> float:
    if split_kind(worker) == "not_safe":
        # What splitting changes says nothing about precision here.
        return max(_NO_CHANCE * worker.noise, _BFLOAT16 * worker.scale)
    return max(_NO_CHANCE * worker.noise, _NO_CHANCE * worker.splitting, _FLOAT32 * worker.scale)
