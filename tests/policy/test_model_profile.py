import pytest

from app.errors import BadInput
from app.policy.model_profile import ModelProfile, Traits, profile_from
from app.types import Content, Image, Kind, Pairs

IMAGE = Content((Image("data:image/png;base64,AAAA", b"1" * 32, 100),))


def test_a_model_of_which_nothing_is_known_is_a_cross_encoder_whose_scores_are_probabilities():
    assert profile_from(Traits(), Traits()) == ModelProfile(
        kind="cross_encoder", truncation="pair", score_scale="probability", multimodal=False
    )


@pytest.mark.parametrize(
    ("kind", "truncation", "score_scale"),
    [
        ("cross_encoder", "pair", "probability"),
        ("template", "document", "probability"),
        ("bi_encoder", "pair", "cosine"),
        ("late_interaction", "pair", "maxsim"),
        ("listwise", "document", "cosine"),
    ],
)
def test_what_is_not_declared_follows_from_the_kind(kind: Kind, truncation: str, score_scale: str):
    profile = profile_from(Traits(kind=kind), Traits())
    assert (profile.truncation, profile.score_scale) == (truncation, score_scale)
    assert profile.is_listwise == (kind == "listwise")


@pytest.mark.parametrize(
    ("declared", "learned", "takes"),
    [
        (None, None, True),
        # A model behind a template looks like a cross-encoder.
        (None, "cross_encoder", True),
        ("cross_encoder", None, False),
        ("template", None, True),
        ("listwise", None, True),
        (None, "bi_encoder", False),
        ("late_interaction", None, False),
    ],
)
def test_an_instruction_may_do_something_unless_the_kind_is_known_to_read_none(
    declared: Kind | None, learned: Kind | None, *, takes: bool
):
    assert profile_from(Traits(kind=declared), Traits(kind=learned)).takes_instruction == takes


def test_what_is_declared_wins_over_what_was_learned_which_wins_over_what_the_kind_implies():
    declared = Traits(score_scale="probability", multimodal=False)
    learned = Traits(kind="bi_encoder", truncation="document", score_scale="logit", multimodal=True)
    assert profile_from(declared, learned) == ModelProfile(
        kind="bi_encoder", truncation="document", score_scale="probability", multimodal=False, takes_instruction=False
    )
    assert profile_from(Traits(), Traits(kind="bi_encoder")).score_scale == "cosine"
    assert profile_from(Traits(), Traits(multimodal=True)).multimodal


def test_what_was_learned_of_another_kind_than_the_declared_one_does_not_count():
    learned = Traits(kind="cross_encoder", truncation="pair", score_scale="logit")
    profile = profile_from(Traits(kind="template"), learned)
    assert (profile.truncation, profile.score_scale) == ("document", "probability")


def test_pairs_go_out_in_one_call_when_their_scores_depend_on_each_other():
    texts, images = Pairs(["q"], ["a", "b"]), Pairs(["q"], ["a", IMAGE])
    together = profile_from(Traits(multimodal=True, splits_images=False), Traits())
    assert together.keeps_whole(images)
    assert not together.keeps_whole(texts)
    assert not profile_from(Traits(multimodal=True), Traits()).keeps_whole(images)
    assert ModelProfile(kind="listwise").keeps_whole(texts)


@pytest.mark.parametrize(
    ("pairs", "param"),
    [(Pairs(["q"], ["a", IMAGE, IMAGE]), "documents[1]"), (Pairs([IMAGE], ["a"]), "query")],
)
def test_images_are_refused_where_the_model_reads_none_with_what_to_send_or_to_set(pairs: Pairs, param: str):
    ModelProfile(multimodal=True).check_images(pairs, "m")
    with pytest.raises(
        BadInput, match=r"^The model m reads no images, .*: send texts only\. .*m\.multimodal: true$"
    ) as raised:
        ModelProfile().check_images(pairs, "m")
    assert raised.value.param == param
    ModelProfile().check_images(Pairs(["q"], ["a"]), "m")
