"""The profiles of models, by fingerprint: the one place that says how a model is treated."""

from app.policy.model_profile import ModelProfile, Traits, profile_from
from app.settings import Settings
from app.types import Fingerprint

_NOTHING = Traits()


class Profiles:
    """Answers which profile a model has.

    Args:
        settings: What the operator declared of each model; that wins over all that is learned.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._profiles: dict[str, ModelProfile] = {}

    def of(self, fingerprint: Fingerprint) -> ModelProfile:
        """The profile of the model that workers serve with this fingerprint."""
        found = self._profiles.get(fingerprint.model)
        if found is None:
            own = self._settings.for_model(fingerprint.model)
            found = self._profiles[fingerprint.model] = profile_from(own.traits, _NOTHING)
        return found
