"""What a worker serves, as fingerprints, and which weights it does that with: told by the scores of fixed pairs."""

from collections import OrderedDict
from collections.abc import Mapping

from app.fleet.link import WorkerLink
from app.policy.drift import Readings
from app.work import Caller, Chunk, Fingerprint, Pairs

PROBE_ID = "rerank-gateway-probe"
# One query, as old workers need it, and texts that share more or less with it: their scores lie apart.
_PAIRS = Pairs(
    ["What is the capital of France?"],
    [
        "The capital of France is Paris.",
        "The capital of Brazil is Brasilia.",
        "France is known for its cheese.",
        "Horses and cows are both animals.",
    ],
)
# A worker that lists other models each time must not fill memory: those that weren't weighed for longest are forgotten.
_MOST_MARKS = 1000


class Weighing:
    """Makes fingerprints of what workers say and score.

    Args:
        revisions: The configured revision by model, part of the fingerprint.
    """

    def __init__(self, revisions: Mapping[str, str]) -> None:
        self._revisions = revisions
        self._readings: OrderedDict[Fingerprint, Readings] = OrderedDict()

    async def identify(self, link: WorkerLink) -> dict[str, Fingerprint]:
        """The worker's models, by name; their weights aren't known yet.

        Raises:
            WorkerError: it doesn't say.
        """
        identity = await link.identify()
        return {
            model.name: Fingerprint(
                model.name, model.root, model.max_model_len, identity.version, self._revisions.get(model.name, "")
            )
            for model in identity.models
        }

    async def weigh(self, link: WorkerLink, marks: Mapping[str, Fingerprint]) -> dict[str, Fingerprint]:
        """The same fingerprints with the scores of the fixed pairs in them, as they were when first seen.

        Raises:
            WorkerError: it doesn't score them.
        """
        return {model: await self._weighed(link, mark) for model, mark in marks.items()}

    async def _weighed(self, link: WorkerLink, mark: Fingerprint) -> Fingerprint:
        caller = Caller(key="", request_id=PROBE_ID, deadline=0)
        chunk = Chunk(pairs=_PAIRS, fingerprint=mark, fields={}, pair_tokens=(), caller=caller, tokens=0)
        scores = (await link.score(chunk)).scores
        first = self._readings_of(mark).first_of(scores)
        return mark._replace(weights=",".join(f"{score:.2f}" for score in first))

    def _readings_of(self, mark: Fingerprint) -> Readings:
        readings = self._readings.setdefault(mark, Readings())
        self._readings.move_to_end(mark)
        if len(self._readings) > _MOST_MARKS:
            self._readings.popitem(last=False)
        return readings


def without_weights(serves: Mapping[str, Fingerprint]) -> dict[str, Fingerprint]:
    """Fingerprints as they are before a worker was weighed."""
    return {model: mark._replace(weights="") for model, mark in serves.items()}
