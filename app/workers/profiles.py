"""The profiles of models, by fingerprint: the one place that says how a model is treated, and whether it is suspect."""

from app.cache.check_results import CheckResults
from app.policy.check_verdict import CheckResult
from app.policy.model_profile import ModelProfile, Traits, profile_from
from app.policy.suspicion import Suspicion, suspicion_of
from app.settings import Settings
from app.types import Fingerprint

_NOTHING = Traits()
# More than can be in use at a time; then all are made anew.
_MOST_PROFILES = 1000


class Profiles:
    """Answers which profile a model has.

    Args:
        settings: What the operator declared of each model; that wins over all that is learned.
        results: What checks have learned.
    """

    def __init__(self, settings: Settings, results: CheckResults) -> None:
        self._settings = settings
        self._results = results
        self._profiles: dict[Fingerprint, tuple[CheckResult | None, ModelProfile]] = {}

    def of(self, fingerprint: Fingerprint) -> ModelProfile:
        """The profile of the model that workers serve with this fingerprint."""
        result = self._results.of(fingerprint)
        made_of, profile = self._profiles.get(fingerprint, (None, None))
        if profile is None or made_of is not result:
            own = self._settings.for_model(fingerprint.model)
            profile = profile_from(own.traits, result.learned if result else _NOTHING)
            if len(self._profiles) >= _MOST_PROFILES:
                self._profiles.clear()
            self._profiles[fingerprint] = result, profile
        return profile

    def result_about(self, fingerprint: Fingerprint) -> CheckResult | None:
        """What a check has found about the model; None until one has come to its end."""
        return self._results.of(fingerprint)

    def suspicion_of(self, fingerprint: Fingerprint) -> Suspicion | None:
        """Why the model seems to be served wrongly, with the fix; None when it doesn't, or hasn't been checked yet."""
        result = self._results.of(fingerprint)
        if result is None or result.suspicion is None:
            return None
        return suspicion_of(result, fingerprint, used=self.of(fingerprint).truncation)
