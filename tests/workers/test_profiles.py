from app.settings import Settings
from app.types import Fingerprint
from app.workers.profiles import Profiles


def test_a_models_profile_is_what_the_settings_declare_of_it():
    profiles = Profiles(Settings(models={"qwen": {"kind": "template", "score_scale": "logit"}}))
    qwen = profiles.of(Fingerprint("qwen", "/models/qwen", 512, "0.32.0", ""))
    assert (qwen.kind, qwen.truncation, qwen.score_scale, qwen.multimodal) == ("template", "document", "logit", False)
    other = profiles.of(Fingerprint("other", "/models/other", 512, "0.32.0", ""))
    assert (other.kind, other.truncation) == ("cross_encoder", "pair")
