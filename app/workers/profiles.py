"""The profiles of models, by fingerprint: the one place that says how a model is treated, and whether it is suspect."""

from app.cache.findings import Findings
from app.policy.check_verdict import Finding
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
        findings: What checks have learned.
    """

    def __init__(self, settings: Settings, findings: Findings) -> None:
        self._settings = settings
        self._findings = findings
        self._profiles: dict[Fingerprint, tuple[Finding | None, ModelProfile]] = {}

    def of(self, fingerprint: Fingerprint) -> ModelProfile:
        """The profile of the model that workers serve with this fingerprint."""
        finding = self._findings.of(fingerprint)
        made_of, profile = self._profiles.get(fingerprint, (None, None))
        if profile is None or made_of is not finding:
            own = self._settings.for_model(fingerprint.model)
            profile = profile_from(own.traits, finding.learned if finding else _NOTHING)
            if len(self._profiles) >= _MOST_PROFILES:
                self._profiles.clear()
            self._profiles[fingerprint] = finding, profile
        return profile

    def finding_about(self, fingerprint: Fingerprint) -> Finding | None:
        """What a check has found about the model; None until one has come to its end."""
        return self._findings.of(fingerprint)

    def suspicion_of(self, fingerprint: Fingerprint) -> Suspicion | None:
        """Why the model seems to be served wrongly, with the fix; None when it doesn't, or hasn't been checked yet."""
        finding = self._findings.of(fingerprint)
        if finding is None or finding.suspicion is None:
            return None
        return suspicion_of(finding, fingerprint, used=self.of(fingerprint).truncation)
