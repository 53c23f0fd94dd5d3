from app.cache.check_results import CheckResults
from app.cache.replica_sync import WeightNames
from app.policy.check_verdict import CheckResult
from app.policy.model_profile import Traits
from app.settings import Settings
from app.types import Fingerprint
from app.workers.profiles import Profiles

QWEN = Fingerprint("qwen", "/models/qwen", 512, "0.32.0", "")


def test_a_models_profile_is_what_the_settings_declare_of_it():
    settings = Settings(models={"qwen": {"kind": "template", "score_scale": "logit"}})
    profiles = Profiles(settings, CheckResults(WeightNames()))
    qwen = profiles.of(QWEN)
    assert (qwen.kind, qwen.truncation, qwen.score_scale, qwen.multimodal) == ("template", "document", "logit", False)
    other = profiles.of(QWEN._replace(model="other"))
    assert (other.kind, other.truncation) == ("cross_encoder", "pair")


def test_what_was_found_about_a_fingerprint_is_its_profile_alone():
    results = CheckResults(WeightNames())
    profiles = Profiles(Settings(), results)
    assert profiles.of(QWEN).truncation == "pair"
    results.found(QWEN, CheckResult(learned=Traits(kind="template", truncation="document")))
    assert (profiles.of(QWEN).kind, profiles.of(QWEN).truncation) == ("template", "document")
    assert profiles.of(QWEN._replace(version="0.33.0")).kind == "cross_encoder"


def test_a_suspicion_names_the_options_of_the_models_family():
    results = CheckResults(WeightNames())
    profiles = Profiles(Settings(), results)
    served = QWEN._replace(root="/models/Qwen3-Reranker-0.6B")
    assert profiles.suspicion_of(served) is None
    results.found(served, CheckResult(suspicion="order", kept=1, asked=8))
    suspicion = profiles.suspicion_of(served)
    assert suspicion
    assert "7 of 8 English queries" in suspicion.seen
    assert "--chat-template qwen3_reranker.jinja" in suspicion.fix
    assert '"classifier_from_token":["no","yes"]' in suspicion.fix
