"""Fingerprints of the models a worker serves; the scores of fixed pairs tell with which weights it serves them."""

from collections import OrderedDict
from collections.abc import Mapping
from random import getrandbits

from app.policy.model_change import Readings
from app.settings import Settings
from app.types import Fingerprint, Pairs
from app.workers.link import WorkerLink

PROBE_PREFIX = "probe-"
# One query, as old workers need it, and texts that share more or less with it: their scores lie apart.
PROBE_PAIRS = Pairs(
    ["What is the capital of France?"],
    [
        "The capital of France is Paris.",
        "The capital of Brazil is Brasilia.",
        "France is known for its cheese.",
        "Horses and cows are both animals.",
    ],
)
# A worker that lists other models each time must not fill memory: those not probed for longest are forgotten.
_MOST_FINGERPRINTS = 1000


class Fingerprinter:
    """Makes fingerprints from what workers say and score.

    Args:
        settings: The models' revisions, which are part of the fingerprint.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._request_id = f"{PROBE_PREFIX}{getrandbits(64):016x}"
        self._readings: OrderedDict[Fingerprint, Readings] = OrderedDict()

    async def identify(self, link: WorkerLink) -> dict[str, Fingerprint]:
        """The fingerprints of the worker's models, by name, without the scores of the fixed pairs.

        Raises:
            WorkerError: the worker doesn't say what it serves.
        """
        identity = await link.identify()
        return {
            name: Fingerprint(name, root, length, identity.version, self._settings.for_model(name).revision)
            for name, root, length in identity.models
        }

    async def add_probe_scores(
        self, link: WorkerLink, fingerprints: Mapping[str, Fingerprint]
    ) -> dict[str, Fingerprint]:
        """The same fingerprints with the scores of the fixed pairs in them, as they were when first seen.

        Raises:
            WorkerError: the worker doesn't score them.
        """
        return {model: await self._with_probe_scores(link, fingerprint) for model, fingerprint in fingerprints.items()}

    async def _with_probe_scores(self, link: WorkerLink, fingerprint: Fingerprint) -> Fingerprint:
        answer = await link.score(fingerprint.model, PROBE_PAIRS, {}, request_id=self._request_id)
        first = self._readings_of(fingerprint).first_of(answer.scores)
        return fingerprint._replace(probe_scores=",".join(f"{score:.2f}" for score in first))

    def _readings_of(self, fingerprint: Fingerprint) -> Readings:
        readings = self._readings.setdefault(fingerprint, Readings())
        self._readings.move_to_end(fingerprint)
        if len(self._readings) > _MOST_FINGERPRINTS:
            self._readings.popitem(last=False)
        return readings


def without_probe_scores(serves: Mapping[str, Fingerprint]) -> dict[str, Fingerprint]:
    """The same fingerprints without the scores of the fixed pairs."""
    return {model: fingerprint._replace(probe_scores="") for model, fingerprint in serves.items()}
