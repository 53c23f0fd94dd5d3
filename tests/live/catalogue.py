"""How each model of the live tests is served, rightly and wrongly, and what the gateway must learn of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.live.spoiling import Spoil, broken_head, constant, listwise_ids, random_head, reversed_head, spoiled

MODELS = Path(__file__).parent.resolve() / "vllm"

Kind = Literal["cross_encoder", "template", "bi_encoder", "late_interaction", "listwise"]
Scale = Literal["probability", "cosine", "logit", "maxsim"]
Reason = Literal["order", "constant", "not_finite", "truncation"]


@dataclass(frozen=True, slots=True)
class Served:
    """A model and the way it is served.

    Attributes:
        name: What the tests call it.
        folder: Its weights, below `vllm`.
        kind: What the gateway takes it for.
        score_scale: What its scores are.
        truncation: Which way of cutting a long pair keeps the ranking.
        flags: Of `vllm serve`, after those of `run_worker.sh`.
        spoil: What is done to a copy of its folder first.
        suspect: Reasons, one of which the gateway must give; none when it is served rightly.
        is_learned: Whether the check finds out its kind; else the operator declares it.
        is_usable: Whether it gives scores at all.
    """

    name: str
    folder: str
    kind: Kind
    score_scale: Scale
    truncation: Literal["pair", "document"] = "pair"
    flags: tuple[str, ...] = ()
    spoil: Spoil | None = None
    suspect: tuple[Reason, ...] = ()
    is_learned: bool = True
    is_usable: bool = True

    def folder_in(self, place: Path) -> Path:
        """The folder to serve: its own, or a changed copy below `place`."""
        folder = MODELS / self.folder
        return folder if self.spoil is None else spoiled(folder, self.spoil, place)


def _cross_encoder(name: str, *reasons: Reason, spoil: Spoil | None = None) -> Served:
    return Served(name, "model-tiny-reranker", "cross_encoder", "probability", spoil=spoil, suspect=reasons)


def _decoder(name: str, *reasons: Reason, template: str | None) -> Served:
    overrides = (
        '{"architectures": ["Qwen3ForSequenceClassification"], "classifier_from_token": ["no", "yes"], '
        '"is_original_qwen3_reranker": true}'
    )
    behind = () if template is None else ("--chat-template", str(MODELS / template))
    flags = ("--hf-overrides", overrides, *behind)
    return Served(name, "model-tiny-decoder", "template", "probability", "document", flags, suspect=reasons)


SERVED = (
    _cross_encoder("cross_encoder"),
    _cross_encoder("cross_encoder_reversed", "order", spoil=reversed_head),
    _cross_encoder("cross_encoder_random_head", "order", "constant", spoil=random_head),
    _cross_encoder("cross_encoder_constant", "constant", spoil=constant),
    # vLLM answers its scores with a 400: no request gets as far as the model.
    Served(
        "cross_encoder_not_finite",
        "model-tiny-reranker",
        "cross_encoder",
        "probability",
        spoil=broken_head,
        suspect=("not_finite",),
        is_usable=False,
    ),
    _decoder("decoder", template="template.jinja"),
    _decoder("decoder_without_template", "order", "constant", template=None),
    _decoder("decoder_with_another_template", "order", "constant", template="another_template.jinja"),
    # What is served when one forgets that it has to be converted: vLLM takes it for an embedding model.
    Served("decoder_unconverted", "model-tiny-decoder", "bi_encoder", "cosine", suspect=("order", "constant")),
    Served("bi_encoder", "model-tiny-embedder", "bi_encoder", "cosine"),
    # It has learnt to be the mean of its tokens, not its first one.
    Served(
        "bi_encoder_with_another_pooling",
        "model-tiny-embedder",
        "bi_encoder",
        "cosine",
        flags=("--pooler-config", '{"seq_pooling_type": "CLS"}'),
        suspect=("order", "constant"),
    ),
    Served("late_interaction", "model-tiny-colbert", "late_interaction", "maxsim"),
    # It scores by the length of the list, which two lists of two don't show.
    Served("listwise", "model-tiny-listwise", "listwise", "cosine", "document", spoil=listwise_ids, is_learned=False),
)
